"""The same digits from scikit-learn, as IDX files and as captioned folders; 28x28 all the way.

In this process, from S3 to S3; test_prepare.py has `prepare` on a real Ray.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.helpers.idx_files import idx_pair
from tests.helpers.pictures import decoded, encoded, thumbnail
from tests.helpers.prepare_runs import prepare_here

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.pictures.config import SPLITS
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.job import run as prepare
from darkroom.jobs.training.bucket_plan import BucketPlan
from darkroom.storage import Artifact, open_artifact, open_store

IDX_NAMES = {"train": "train", "validation": "validation", "test": "t10k"}


@pytest.fixture(scope="module", autouse=True)
def _here() -> Iterator[None]:
    """Jobs run in this process, without Ray."""
    with prepare_here():
        yield


def test_a_label_that_no_picture_of_idx_files_has_is_no_class(tmp_path: Path) -> None:
    labels = np.resize(np.array([1, 9, 3], np.uint8), 60)  # as EMNIST's letters, which begin at 1
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    for name, data in idx_pair("train", images, labels).items():
        (tmp_path / name).write_bytes(data)
    source = {"kind": "idx", "uri": str(tmp_path), "classes": [f"class {n}" for n in range(10)]}
    artifact = prepared(f"{tmp_path}-out", source, limits={"min_side": 8})
    assert Dataset.of(artifact).info.classes == ("class 1", "class 3", "class 9")
    assert Counter(row["label"] for row in rows_of(artifact)) == {0: 20, 1: 20, 2: 20}


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    tables = [artifact.read_table(entry.name) for entry in artifact.entries("data/")]
    return [row for table in tables for row in table.to_pylist()]


@pytest.fixture(scope="module")
def digits(s3_module_uri: str) -> list[dict[str, Any]]:
    """The rows of 300 of scikit-learn's digits."""
    return rows_of(prepared(f"{s3_module_uri}/digits-rows", {"kind": "digits"}, limit=300))


def prepared(output: str, source: dict[str, Any], **values: Any) -> Artifact:
    values = {"source": source, "output": output, "channels": 1, **values}
    prepare(build_config(PrepareConfig, values))
    return open_artifact(output, kind="dataset")


def upload(uri: str, files: dict[str, bytes]) -> None:
    open_store(uri).upload_many([(data, key) for key, data in files.items()])


def arrays(rows: list[dict[str, Any]], split: str) -> tuple[np.ndarray, np.ndarray]:
    mine = [row for row in rows if row["split"] == split]
    images = np.stack([decoded(row["image"]) for row in mine])
    return images, np.array([row["label"] for row in mine], np.uint8)


def as_idx(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for split in SPLITS:
        files |= idx_pair(IDX_NAMES[split], *arrays(rows, split), zipped=split == "train")
    return files


def as_captions(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for split in SPLITS:
        mine = [row for row in rows if row["split"] == split]
        files |= {f"{split}/images/{row['id']}.png": row["image"] for row in mine}
        captions = [
            {
                "file_name": f"{row['id']}.png",
                "caption": f"the digit {row['label']}",
                "label": str(row["label"]),
            }
            for row in mine
        ]
        files[f"{split}/captions.json"] = json.dumps(captions).encode()
    return files


def as_parquet(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """As the Hugging Face hub has them."""
    files: dict[str, bytes] = {}
    for split in SPLITS:
        mine = [row for row in rows if row["split"] == split]
        table = pa.table(
            {
                "image": [{"bytes": row["image"], "path": None} for row in mine],
                "text": [f"the digit {row['label']}" for row in mine],
            }
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=50)
        files[f"data/{split}-00000-of-00001.parquet"] = sink.getvalue()
    return files


def contents(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter((r["split"], r["label"], r["image"], r["width"], r["height"]) for r in rows)


def captioned(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter((row["split"], row["caption"], row["image"]) for row in rows)


def test_digits_are_the_same_rows_from_every_source(
    digits: list[dict[str, Any]], bucket_uri: str
) -> None:
    upload(f"{bucket_uri}/idx", as_idx(digits))
    upload(f"{bucket_uri}/folders", as_captions(digits))
    upload(f"{bucket_uri}/hub", as_parquet(digits))
    idx = prepared(f"{bucket_uri}/a", {"kind": "idx", "uri": f"{bucket_uri}/idx"})
    captions = prepared(f"{bucket_uri}/b", {"kind": "captions", "uri": f"{bucket_uri}/folders"})
    assert len(digits) == 300
    assert {row["split"] for row in digits} == set(SPLITS)
    assert contents(rows_of(idx)) == contents(rows_of(captions)) == contents(digits)
    assert idx.manifest.metadata["classes"] == captions.manifest.metadata["classes"]
    found = rows_of(captions)
    assert all(row["caption"] == f"the digit {row['label']}" for row in found)
    assert len({row["id"] for row in found}) == len(found)
    hub = rows_of(prepared(f"{bucket_uri}/c", {"kind": "parquet", "uri": f"{bucket_uri}/hub"}))
    assert captioned(hub) == captioned(found)


def test_pictures_of_28_by_28_come_out_28_by_28(
    digits: list[dict[str, Any]], bucket_uri: str
) -> None:
    images, labels = arrays(digits, "train")
    large = np.stack([np.asarray(Image.fromarray(image).resize((28, 28))) for image in images])
    upload(f"{bucket_uri}/idx", idx_pair("train", large, labels, zipped=True))
    source = {"kind": "idx", "uri": f"{bucket_uri}/idx"}
    data = prepared(f"{bucket_uri}/data", source, image_size=[28, 28])
    stored = {row["id"]: decoded(row["image"]) for row in rows_of(data)}
    assert all(
        np.array_equal(stored[f"train-{index:06d}"], image) for index, image in enumerate(large)
    )


def test_buckets_are_published_and_planned(bucket_uri: str) -> None:
    """Photographs of four shapes: sizes in the manifest and the rows, steps of one size each."""
    sizes = [(96, 64), (64, 96), (70, 64), (90, 66), (200, 90)]
    files = {
        f"{name}/{width}x{height}.jpg": encoded(thumbnail(name, (width, height)), "JPEG")
        for name in ("china", "flower")
        for width, height in sizes
    }
    upload(f"{bucket_uri}/in", files)
    data = prepared(
        f"{bucket_uri}/data", {"kind": "image_folder", "uri": f"{bucket_uri}/in"}, channels=3,
        buckets={"resolution": 64, "divisibility": 8}, piece_rows=3,
        split={"train": 1, "validation": 0, "test": 0},
    )  # fmt: skip
    dataset = Dataset.of(data)
    assert dataset.info.image_size is None
    found = {(one.height, one.width): one.split_rows["train"] for one in dataset.info.buckets}
    assert found == {(56, 80): 4, (80, 56): 2, (64, 64): 2, (48, 88): 2}
    with pytest.raises(DataError, match="its images differ in size"):
        dataset.shape()
    table = dataset.sizes("train")
    assert Counter(map(tuple, table.tolist())) == found
    rows = list(dataset.rows("train"))
    assert [list(row.pixels().shape[1:]) for row in rows] == table.tolist()
    names, buckets = np.unique(table, axis=0, return_inverse=True)
    plan = BucketPlan(
        dataset.row_groups("train"), buckets, batch_size=3, seed=0, shuffle_window=2
    )  # fmt: skip
    assert plan.steps_per_epoch == 5
    met = [int(row) for step in range(5) for row in plan.rows(step)]
    assert sorted(met) == list(range(10))
    assert len(names) == 4
