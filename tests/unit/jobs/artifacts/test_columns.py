"""Prepared Parquet of another writer is refused by the driver, in every verb that reads it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.config import JobConfig
from darkroom.errors import DataError, IntegrityError
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.split_rows import SplitPart
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.source import find_pictures
from darkroom.jobs.measuring.reference import find_reference
from darkroom.jobs.pictures.config import Split
from darkroom.storage import Artifact, open_artifact, open_output
from darkroom.storage.parquet import VerifiedParquetFile

NUM_ROWS = 4
_SPLITS: tuple[Split, ...] = ("train", "test")
GOOD: dict[str, Any] = {
    "id": list("abcd"),
    "image": [b"png"] * NUM_ROWS,
    "label": pa.array([0, 1, 0, 1], pa.int64()),
}


def table(**changes: Any) -> bytes:
    return parquet({name: v for name, v in {**GOOD, **changes}.items() if v is not None})


def twice(name: str) -> bytes:
    return parquet([*GOOD.items(), (name, GOOD[name])])


def parquet(columns: dict[str, Any] | list[tuple[str, Any]]) -> bytes:
    pairs = list(columns.items()) if isinstance(columns, dict) else columns
    arrays = [values if isinstance(values, pa.Array) else pa.array(values) for _, values in pairs]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=[name for name, _ in pairs]), out)
    return out.getvalue()


def dataset(folder: Path, data: bytes) -> Artifact:
    with open_output(str(folder), kind="dataset", config=JobConfig(output=str(folder))) as output:
        files = []
        for split in _SPLITS:
            entry = output.writer.write_bytes(f"data/{split}/part-00000.parquet", data)
            about = SplitPart(split, (NUM_ROWS,)).to_metadata()
            files.append(replace(entry, rows=NUM_ROWS, metadata=about))
        info = DatasetInfo(
            num_rows=2 * NUM_ROWS, num_rejected=0, rejected={}, piece_rows=NUM_ROWS, figures=None,
            classes=("x", "y"), split_rows={}, image_size=(8, 8), channels=1, num_skipped={},
            source={},
        )  # fmt: skip
        output.publish(files, metadata=info.to_metadata())
    return open_artifact(str(folder))


def train(uri: str) -> None:
    check_columns(open_artifact(uri), 2, field="input")


def classify(uri: str) -> None:
    find_pictures(ClassifyConfig(input=uri, output=f"{uri}-out"))


@pytest.mark.parametrize("verb", [train, classify, find_reference])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (twice("image"), "has two columns image"),
        (twice("label"), "has two columns label"),
        (twice("id"), "has two columns id"),
        (table(image=None), "has no column image"),
        (table(label=None), "has no column label"),
        (table(label=None, about=[{"label": 1}] * NUM_ROWS), "has no column label"),
        (table(image=[{"bytes": b"png"}] * NUM_ROWS), "has a nested column image"),
        (table(image=[[1]] * NUM_ROWS), "has a nested column image"),
        (table(label=["x"] * NUM_ROWS), "has BYTE_ARRAY in its column label, not INT64"),
        (table(label=pa.array([0, 1, 2, 0], pa.int64())), "has the label 2 where 2 classes"),
        (table(label=pa.array([0, 1, -1, 0], pa.int64())), "has the label -1 where 2 classes"),
    ],
)
def test_a_file_of_other_columns_is_named(
    tmp_path: Path, verb: Callable[[str], object], data: bytes, message: str
) -> None:
    uri = str(dataset(tmp_path / "data", data).uri)
    field = "reference" if verb is find_reference else "input"
    with pytest.raises(DataError, match=rf"^{field}: .*part-00000\.parquet {message}.* prepare"):
        verb(uri)


def test_where_labels_are_not_used_a_row_may_lack_one(tmp_path: Path) -> None:
    artifact = dataset(tmp_path / "data", table(label=pa.array([0, None, 1, None], pa.int64())))
    check_columns(artifact, 2, field="input", labelled=False)
    check_columns(artifact, None, field="input")
    with pytest.raises(DataError, match="2 rows without a label"):
        check_columns(artifact, 2, field="input")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (twice("image"), DataError, "has two columns image"),
        (table(image=None), DataError, "has no column image"),
        (table()[:-9], IntegrityError, "is damaged or no Parquet file"),
        (b"", IntegrityError, "is damaged or no Parquet file"),
    ],
)
def test_no_reader_of_columns_gets_others(
    data: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        VerifiedParquetFile(io.BytesIO(data), "part").read_row_group(0, columns=["image"])


def test_a_column_that_would_be_unpickled_is_not_read() -> None:
    from ray.data.extensions import ArrowPythonObjectArray

    data = table(image=ArrowPythonObjectArray.from_objects([{1}] * NUM_ROWS))
    with pytest.raises(DataError, match="image of an extension type"):
        VerifiedParquetFile(io.BytesIO(data), "part").read(columns=["image"])
