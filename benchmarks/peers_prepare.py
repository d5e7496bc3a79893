"""`darkroom prepare` beside other ways to make a training set of a folder of photographs on S3.

    python -m benchmarks.peers_prepare [--rounds 5] [--quick]

All read the same JPEGs of 640 x 480 from one server, decode and check them, crop them to squares,
resize, encode as JPEG again, and write there with the name of the class. The peers: a pool of
processes by hand that writes Parquet; the same that writes webdataset's tars; Daft; img2dataset,
which reads URLs, and gets those that S3 signs for the same objects. As many processes or threads
as there are cores. Work on ten pictures is timed for each as well and taken off: it is start-up
(new processes and their imports, Ray's tasks); a second row leaves it in.

The ratio is the peer's time over ours: above 1, ours is faster. What the peers leave out: digests
of inputs and outputs, splits, ids and an order that depend on the seed alone, rows that are
committed once whoever does them twice, files that go on where a killed run stopped, dead letters
with reasons (the loops and Daft drop what cannot be decoded, img2dataset tells of it in its table),
a manifest. Daft cannot set JPEG's quality, and img2dataset resizes by area with OpenCV.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks import peers
from benchmarks.interleaved import Report, arguments
from benchmarks.peers import Peer, Tally, Works
from benchmarks.photographs import photographs
from benchmarks.s3_bench import BUCKET
from botocore.config import Config

from darkroom.config import build_config
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.job import run
from darkroom.jobs.session import ray_session
from darkroom.storage import EmbeddedServer, open_store

OURS, LOOP, WEBDATASET, DAFT, IMG2DATASET = (
    "prepare", "a pool by hand", "webdataset", "Daft", "img2dataset",
)  # fmt: skip
NUM_DIFFERENT, NUM_CLASSES, NUM_FEW = 500, 10, 10
SIDE, QUALITY, SHARD = 256, 95, 128
URL_SECONDS = 7 * 24 * 3600


class Comparison:
    """The ways, on a folder of many pictures and one of ten."""

    def __init__(self, programs: dict[str, Peer], urls: Path, *, count: int) -> None:
        self._programs, self._urls = programs, urls
        self._outputs = itertools.count()
        self.tally = Tally(count)

    def works(self) -> Works:
        return {
            OURS: self.tally.here(OURS, self._ours),
            LOOP: lambda count: self._ask(LOOP, count, **self._loop(count), kind="parquet"),
            WEBDATASET: lambda count: self._ask(WEBDATASET, count, **self._loop(count), kind="tar"),
            DAFT: lambda count: self._ask(DAFT, count, prefix=f"{_folder(count)}/"),
            IMG2DATASET: self._img2dataset,
        }

    def _img2dataset(self, count: int) -> float:
        # Its processes end after five shards, and new ones import everything again.
        shard = math.ceil(count / (4 * (os.cpu_count() or 1)))
        return self._ask(
            IMG2DATASET, count, urls=str(self._urls / f"{count}.parquet"), quality=QUALITY,
            shard=shard,
        )  # fmt: skip

    def _loop(self, count: int) -> dict[str, Any]:
        return {"prefix": f"{_folder(count)}/", "quality": QUALITY, "shard": SHARD}

    def _ours(self, count: int) -> None:
        values: dict[str, Any] = {
            "source": {"kind": "image_folder", "uri": f"s3://{BUCKET}/{_folder(count)}"},
            "output": f"s3://{BUCKET}/ours-{next(self._outputs)}",
            "image_size": (SIDE, SIDE), "encoding": {"format": "jpeg", "quality": QUALITY},
        }  # fmt: skip
        found = run(build_config(PrepareConfig, values))
        assert found["num_rows"] == count, found

    def _ask(self, name: str, count: int, **how: Any) -> float:
        found = self._programs[name].ask(
            "prepare", bucket=BUCKET, output=f"peer-{next(self._outputs)}", side=SIDE, **how
        )
        return self.tally.asked(name, count, found)


def _folder(count: int) -> str:
    return f"photographs-{count}"


def upload(folder: Path, count: int) -> None:
    """So many pictures in class folders, and those that start-up is measured on."""
    different = sorted(photographs(folder, min(count, NUM_DIFFERENT)).iterdir())
    for number in {NUM_FEW, count}:
        store = open_store(f"s3://{BUCKET}/{_folder(number)}")
        store.upload_many(
            [
                (different[at % len(different)], f"class-{at % NUM_CLASSES}/{at:05d}.jpg")
                for at in range(number)
            ]
        )


def sign_urls(folder: Path, count: int) -> None:
    """A table of URLs for each folder of the server."""
    config = Config(s3={"addressing_style": "path"}, signature_version="s3v4")
    s3: Any = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], config=config)
    for number in {NUM_FEW, count}:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{_folder(number)}/"
        )
        keys = [item["Key"] for page in pages for item in page["Contents"]]
        rows = [
            {
                "url": s3.generate_presigned_url(
                    "get_object", {"Bucket": BUCKET, "Key": key}, ExpiresIn=URL_SECONDS
                ),
                "label": key.split("/")[-2],
            }
            for key in keys
        ]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        (folder / f"{number}.parquet").write_bytes(sink.getvalue())


@contextmanager
def programs() -> Iterator[dict[str, Peer]]:
    """The peers' programs, while they are needed."""
    with (
        Peer("prepare_loop") as loop, Peer("prepare_loop") as tars, Peer("prepare_daft") as daft,
        Peer("prepare_img2dataset", python=peers.python_of(peers.IMG2DATASET)) as img2dataset,
    ):  # fmt: skip
        yield {LOOP: loop, WEBDATASET: tars, DAFT: daft, IMG2DATASET: img2dataset}


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    given = parser.parse_args()
    for environment in (peers.PEERS, peers.IMG2DATASET):
        peers.build(environment)
    count = 200 if given.quick else 2000
    report = Report("peers_prepare")
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name,
        EmbeddedServer(Path(name, "s3"), bucket=BUCKET) as server,
    ):
        os.environ.update(server.environment)
        upload(Path(name, "pictures"), count)
        sign_urls(Path(name), count)
        with ray_session(num_cpus=os.cpu_count() or 1), programs() as running:
            sides = Comparison(running, Path(name), count=count)
            peers.compare(
                report, "prepare", sides.works(), sides.tally, count=count, few=NUM_FEW,
                num_rounds=given.rounds,
            )  # fmt: skip


if __name__ == "__main__":
    main()
