"""Channels and size come from the data unless they are given, and what was chosen is said.

In this process; test_prepare.py has the look at the pictures as tasks of a real Ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.pictures import decoded
from tests.helpers.prepare_runs import prepare_here

from darkroom.config import build_config
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.job import run
from darkroom.storage import open_artifact


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    """Jobs run in this process, without Ray."""
    with prepare_here():
        yield


def write(folder: Path, *, shape: tuple[int, ...], number: int, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        pixels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{index}.png")


def prepared(source: dict[str, Any], output: Path, **values: Any) -> tuple[dict[str, Any], Any]:
    result = run(build_config(PrepareConfig, {"source": source, "output": str(output), **values}))
    artifact = open_artifact(str(output), kind="dataset")
    tables = [artifact.read_table(entry.name) for entry in artifact.entries("data/")]
    images = [decoded(row["image"]) for table in tables for row in table.to_pylist()]
    for key in ("channels", "image_size"):
        assert result[key] == artifact.manifest.metadata[key]
    return result, images


def test_channels_and_size_are_those_of_the_data(tmp_path: Path, darkroom_log: list[str]) -> None:
    folder = tmp_path / "in"
    source = {"kind": "image_folder", "uri": str(folder)}
    for label in ("a", "b"):
        write(folder / label, shape=(12, 10), number=10, name="grey")
    result, images = prepared(source, tmp_path / "grey")
    assert (result["channels"], result["image_size"]) == (1, [12, 10])
    assert "channels: 1, since all 20 pictures are grey" in "\n".join(darkroom_log)
    assert {image.shape for image in images} == {(12, 10)}

    write(folder / "b", shape=(12, 11, 3), number=1, name="z")
    result, images = prepared(source, tmp_path / "mixed")
    assert (result["channels"], result["image_size"]) == (3, None)
    assert "channels: 3, since b/z0.png has colour" in "\n".join(darkroom_log)
    assert "image_size: pictures keep their own, 12x10 and 12x11 among them" in "\n".join(
        darkroom_log
    )
    assert {image.shape for image in images} == {(12, 10, 3), (12, 11, 3)}

    given = {"channels": 1, "image_size": [6, 6]}
    result, images = prepared(source, tmp_path / "given", **given)
    assert {key: result[key] for key in given} == given
    assert {image.shape for image in images} == {(6, 6)}


def test_what_needs_colour_and_what_is_missing_is_said(
    tmp_path: Path, darkroom_log: list[str]
) -> None:
    write(tmp_path / "in" / "a", shape=(8, 8), number=2, name="grey")
    source = {"kind": "image_folder", "uri": str(tmp_path / "in")}
    shares = {"train": 0.98, "validation": 0.01, "test": 0.01}
    result, _ = prepared(source, tmp_path / "w", encoding={"format": "webp"}, split=shares)
    assert result["channels"] == 3
    assert "channels: 3, since WebP has no grey pictures" in "\n".join(darkroom_log)
    assert "not one picture is in the validation split" in "\n".join(darkroom_log)
