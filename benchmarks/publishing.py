"""Publishing an output over merely writing its bytes to S3.

    python -m benchmarks.publishing [--rounds 7] [--quick]

1. 1 GiB in 16 files of 64 MiB. 2. 2,000 files of 100 kB. Target: at most 1.03 each.

Publishing is all that a job does for its output: ask the server whether it honours conditional
writes, hash every file, send the sha256 of every part for the server to compare, compare what the
server then holds, write the manifest by a conditional put. Plain writing sends the same files by
the same requests, as many at once, in parts of the same size, over the same connections, and
does none of it: it hashes a request's body because the signature of a request over plain HTTP
covers it, and nothing else. The server is the embedded one, on the same cores, a fresh one each
round. The details hold the processor seconds of client and server for each arm, and, where the
target is missed, a profile of publishing's main thread.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.interleaved import Report, arguments
from benchmarks.profiles import profiled
from benchmarks.s3_bench import BUCKET, CpuSeconds, fresh_server, on_fresh_servers, random_files

from darkroom.config import JobConfig
from darkroom.storage import open_output, parse_uri
from darkroom.storage.s3 import S3Store
from darkroom.storage.s3_client import connect
from darkroom.storage.s3_parts import NUM_PART_THREADS, PART_BYTES
from darkroom.storage.store import NUM_THREADS

AT_MOST = 1.03
MIB = 1 << 20


def publish(folder: Path, output: str) -> None:
    """As every job does it."""
    config = JobConfig(output=output)
    with open_output(output, kind="benchmark", config=config) as attempt:
        attempt.publish(attempt.writer.write_tree(folder))


def write(folder: Path, output: str) -> None:
    """The same files and requests, and nothing that publishing adds."""
    store = S3Store(parse_uri(output))
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor(NUM_THREADS) as files, ThreadPoolExecutor(NUM_PART_THREADS) as parts:
        list(files.map(partial(_write_file, store, parts), paths))


def _write_file(store: S3Store, parts: ThreadPoolExecutor, path: Path) -> None:
    size = path.stat().st_size
    if size <= PART_BYTES:
        _put(store, path.name, path.read_bytes())
        return
    location: Any = store.location(path.name)
    with store.request("write", path.name) as client:
        upload_id = client.create_multipart_upload(**location)["UploadId"]
    starts = range(0, size, PART_BYTES)
    etags = parts.map(partial(_put_part, store, path, upload_id), starts)
    sent: Any = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, start=1)]
    with store.request("write", path.name) as client:
        client.complete_multipart_upload(
            **location, UploadId=upload_id, MultipartUpload={"Parts": sent}
        )


def _put_part(store: S3Store, path: Path, upload_id: str, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(PART_BYTES)
    query = {"partNumber": str(start // PART_BYTES + 1), "uploadId": upload_id}
    return _put(store, path.name, data, query)


def _put(store: S3Store, key: str, data: bytes, query: dict[str, str] | None = None) -> str:
    client, place = connect().direct, store.location(key)
    assert client is not None
    digest = hashlib.sha256(data).hexdigest()
    reply = client.send(
        "PUT", place["Bucket"], place["Key"], query=query, body=data, body_sha256=digest
    )
    assert reply is not None, key
    return reply.headers["etag"]


def outputs() -> Iterator[str]:
    """A fresh one each time."""
    return (f"s3://{BUCKET}/out-{number:04d}" for number in itertools.count())


def main() -> None:
    given = arguments(__doc__).parse_args()
    large = (4 if given.quick else 16, 64 * MIB)
    small = (200 if given.quick else 2000, 100_000)
    report = Report("publishing")
    for what, (count, size) in {"64 MiB files": large, "100 kB files": small}.items():
        with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
            folder = random_files(Path(name) / "files", count=count, size=size)
            compare(folder, f"{count} {what}", report, num_rounds=given.rounds)
    report.write()


def compare(folder: Path, what: str, report: Report, *, num_rounds: int) -> None:
    """Measure one folder's publishing into the report."""
    cpu, output = CpuSeconds(), outputs()
    arms = {
        "writing": cpu.counting("writing", lambda: write(folder, next(output))),
        "publishing": cpu.counting("publishing", lambda: publish(folder, next(output))),
    }
    met = None
    for timings in on_fresh_servers({what: arms}, cpu, num_rounds=num_rounds):
        seconds = timings[what].seconds
        report.details[what] = {"seconds": seconds, "processor_seconds": cpu.medians()}
        ratio = timings[what].ratio("publishing", "writing")
        met = report.add(f"publishing / writing: {what}", ratio, at_most=AT_MOST)
    if not met:
        with fresh_server(cpu):
            publish(folder, next(output))
            found = profiled(lambda: publish(folder, next(output)))
        report.details[what]["profile"] = found


if __name__ == "__main__":
    main()
