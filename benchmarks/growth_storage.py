"""Growth of storage: a dataset of many files, a bucket of many keys, a folder of many outputs."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

from benchmarks.growth_meter import BUCKET, counting_server, metered

from darkroom.config import build_config
from darkroom.jobs.artifacts.dataset import Dataset, DatasetInfo
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.artifacts.split_rows import SplitPart
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.storage import FileEntry, gc, lineage, ls, open_artifact, open_output, open_store
from darkroom.storage.store import for_each

CONTENT = b"a file of a few bytes"
ROW_GROUPS = (256,) * 20
NUM_ATTEMPT_KEYS = 10
NOW = timedelta(seconds=-2)


def files(num_files: int) -> None:
    """A dataset of so many files: publish it, open it, list it, plan on it, verify it."""
    uri = f"s3://{BUCKET}/data"
    with counting_server() as server:
        config = build_config(PrepareConfig, {"source": {"kind": "digits"}, "output": uri})
        with open_output(uri, kind=Kind.DATASET, config=config) as output:
            prefix = f"attempts/{output.attempt}/"
            entries = [_entry(prefix, number) for number in range(num_files)]
            _put_all([entry.key for entry in entries], uri)
            num_rows = num_files * sum(ROW_GROUPS)
            info = DatasetInfo(
                classes=(), num_rows=num_rows, num_rejected=0, rejected={}, piece_rows=256,
                figures=None, split_rows={"train": num_rows}, image_size=(8, 8), channels=3,
                num_skipped={}, source={"kind": "digits"},
            )  # fmt: skip
            with metered("publish", num_files, server=server):
                output.publish(entries, rows=num_rows, metadata=info.to_metadata())
            del entries
        with metered("open, and the row groups", num_files, server=server) as row:
            artifact = open_artifact(uri)
            groups = Dataset.of(artifact).row_groups("train")
            row["row_groups"] = len(groups)
        del artifact, groups
        with metered("ls of an artifact", num_files, server=server):
            assert len(ls(uri).text().splitlines()) == num_files + 1
        with metered("lineage, every file read", num_files, server=server):
            assert lineage(uri).ok


def _entry(prefix: str, number: int) -> FileEntry:
    name = f"data/train/part-{number:05d}.parquet"
    part = SplitPart("train", ROW_GROUPS)
    return FileEntry(
        name, prefix + name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(),
        sum(ROW_GROUPS), part.to_metadata(),
    )  # fmt: skip


def keys(num_keys: int) -> None:
    """So many keys in attempts that nothing names, below one prefix: find them, remove them."""
    uri = f"s3://{BUCKET}/runs"
    with counting_server() as server:
        attempts = [uuid.UUID(int=number).hex for number in range(num_keys // NUM_ATTEMPT_KEYS)]
        _put_all(
            [
                f"run-{number % 10}/attempts/{attempt}/data/part-{part:05d}.parquet"
                for number, attempt in enumerate(attempts)
                for part in range(NUM_ATTEMPT_KEYS)
            ],
            uri,
        )
        with metered("gc, a dry run", num_keys, server=server):
            assert len(gc(uri, NOW).garbage) == len(attempts)
        with metered("gc, removing", num_keys, server=server):
            gc(uri, NOW, delete=True)
        assert not gc(uri, NOW).garbage


def outputs(num_outputs: int) -> None:
    """So many published outputs below one prefix: list them, and judge them by gc."""
    uri = f"s3://{BUCKET}/outputs"
    with counting_server() as server:

        def publish(number: int) -> None:
            output_uri = f"{uri}/{number:06d}"
            config = build_config(
                PrepareConfig, {"source": {"kind": "digits"}, "output": output_uri}
            )
            with open_output(output_uri, kind=Kind.DATASET, config=config) as output:
                output.publish([output.writer.write_bytes("data/x", CONTENT)])

        for_each(publish, range(num_outputs))
        with metered("ls of a folder of outputs", num_outputs, server=server):
            assert len(ls(uri).entries) == num_outputs
        with metered("gc over outputs", num_outputs, server=server):
            assert not gc(uri, NOW).garbage


def _put_all(names: list[str], uri: str) -> None:
    store = open_store(uri)
    for_each(lambda name: store.put(name, CONTENT), names)
