"""`darkroom classify` beside other ways to classify a folder of photographs on S3.

    python -m benchmarks.peers_classify [--rounds 5] [--quick] [--only small]

The peers: plain torch (a DataLoader that reads in one process, and in as many as there are cores),
Ray Data's documented pipeline, and Daft. Two networks with random weights, ResNet-152 and a small
one; all read the same objects of one server and write Parquet there. Work on one picture is timed
for each as well and taken off: it is start-up (a model is built in either; a second row leaves it
in).

The ratio is the peer's time over ours: above 1, ours is faster. What the peers leave out: the
digest of each picture's version, pieces that are committed once whoever does them twice, dead
letters for pictures that cannot be read, a manifest. Daft also has no crop, and resizes only.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.classify_jobs import LARGE, SMALL
from benchmarks.interleaved import Report, arguments
from benchmarks.naive_classify import run_naive
from benchmarks.peers import Peer, Tally, Works
from benchmarks.photographs import photographs
from benchmarks.s3_bench import BUCKET
from pyarrow import fs  # noqa: TID251 - what the peer reads with

from darkroom.config import build_config
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run
from darkroom.jobs.session import ray_session
from darkroom.models.classifier import describe_classifier
from darkroom.models.weights import find_weights
from darkroom.storage import EmbeddedServer, open_store

OURS, RAY_DATA, ONE_PROCESS, MANY_PROCESSES, DAFT = (
    "classify", "Ray Data's pipeline", "DataLoader, one process", "DataLoader, a process a core",
    "Daft",
)  # fmt: skip
BATCH_SIZE = 32


class Comparison:
    """One network on two folders of the server: many pictures, and one."""

    def __init__(self, network: dict[str, str], programs: dict[str, Peer], *, count: int) -> None:
        self._network, self._programs = network, programs
        self._outputs = itertools.count()
        config = build_config(
            ClassifyConfig, {"input": "-", "output": "-", "model": network}
        )  # fmt: skip
        self._classifier = describe_classifier(config.model.library, config.model.name)
        self._weights = find_weights(self._classifier, "random", seed=0)
        self.tally = Tally(count)

    def works(self) -> Works:
        cores = os.cpu_count() or 1
        return {
            OURS: self.tally.here(OURS, self._ours),
            RAY_DATA: self.tally.here(RAY_DATA, self._ray_data),
            ONE_PROCESS: lambda count: self._ask(ONE_PROCESS, count, num_workers=0),
            MANY_PROCESSES: lambda count: self._ask(MANY_PROCESSES, count, num_workers=cores),
            DAFT: lambda count: self._ask(DAFT, count),
        }

    def _ours(self, count: int) -> None:
        cores = os.cpu_count() or 1
        values: dict[str, Any] = {
            "input": f"s3://{BUCKET}/{_folder(count)}",
            "output": f"s3://{BUCKET}/ours-{next(self._outputs)}",
            "model": self._network, "batch_size": BATCH_SIZE, "piece_rows": 2 * BATCH_SIZE,
            "models": {"num_threads": cores if self._network == LARGE else 1},
        }  # fmt: skip
        assert run(build_config(ClassifyConfig, values))["num_rows"] == count

    def _ray_data(self, count: int) -> None:
        cores = os.cpu_count() or 1
        endpoint = os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
        there = fs.S3FileSystem(
            endpoint_override=endpoint, scheme="http", region=os.environ["AWS_REGION"]
        )
        output = f"{BUCKET}/ray-{next(self._outputs)}"
        threads = cores if self._network == LARGE else 1
        run_naive(
            f"{BUCKET}/{_folder(count)}", output, self._classifier, self._weights,
            batch_size=BATCH_SIZE, num_threads=threads, filesystem=there,
        )  # fmt: skip

    def _ask(self, name: str, count: int, **how: Any) -> float:
        found = self._programs[name].ask(
            "classify", bucket=BUCKET, prefix=f"{_folder(count)}/", network=self._network["name"],
            output=f"peer-{next(self._outputs)}", batch_size=BATCH_SIZE, **how,
        )  # fmt: skip
        return self.tally.asked(name, count, found)


def _folder(count: int) -> str:
    return f"photographs-{count}"


def compare(
    what: str, network: dict[str, str], report: Report, *, count: int, num_rounds: int
) -> None:
    """A row for each peer, and one with start-up left in."""
    _upload(count)
    with programs() as running:
        sides = Comparison(network, running, count=count)
        peers.compare(
            report, what, sides.works(), sides.tally, count=count, few=1, num_rounds=num_rounds
        )


@contextmanager
def programs() -> Iterator[dict[str, Peer]]:
    """The peers' programs, while they are needed."""
    with (
        Peer("classify_loop") as one, Peer("classify_loop") as many, Peer("classify_daft") as daft
    ):  # fmt: skip
        yield {ONE_PROCESS: one, MANY_PROCESSES: many, DAFT: daft}


def _upload(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        for number in {1, count}:
            folder = photographs(Path(name, str(number)), number)
            store = open_store(f"s3://{BUCKET}/{_folder(number)}")
            store.upload_many([(path, path.name) for path in sorted(folder.iterdir())])


def sizes(*, quick: bool) -> Iterator[tuple[str, dict[str, str], int]]:
    """Name, network, and pictures of each comparison."""
    yield "small", SMALL, 200 if quick else 1000
    yield "large", LARGE, 16 if quick else 64


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    parser.add_argument("--only", choices=["small", "large"], action="append")
    given = parser.parse_args()
    peers.build()
    report = Report("peers_classify")
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-s3-") as folder,
        EmbeddedServer(folder, bucket=BUCKET) as server,
    ):
        os.environ.update(server.environment)
        with ray_session(num_cpus=6):
            for what, network, count in sizes(quick=given.quick):
                if given.only is None or what in given.only:
                    compare(what, network, report, count=count, num_rounds=given.rounds)


if __name__ == "__main__":
    main()
