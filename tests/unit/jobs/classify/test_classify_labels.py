"""A file of labels as people write them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from darkroom.errors import DataError
from darkroom.jobs.classify.config import ClassifyConfig, ModelConfig
from darkroom.jobs.classify.job import _classifier


def labels(folder: Path, data: bytes) -> tuple[str, ...]:
    (folder / "labels.txt").write_bytes(data)
    model = ModelConfig(labels=str(folder / "labels.txt"))
    config = ClassifyConfig(input="in", output="out", model=model)
    return tuple(_classifier(config)[0].labels)


@pytest.mark.parametrize(
    "data",
    [
        "tabby, tabby cat\ncafé\n".encode(),
        codecs.BOM_UTF8 + "tabby, tabby cat\r\ncafé\r\n\r\n".encode(),
        "tabby, tabby cat\ncafé".encode("utf-16"),
        "tabby, tabby cat\rcafé".encode(),
    ],
    ids=["plain", "mark", "utf-16", "old-mac"],
)
def test_marks_and_line_ends_are_no_part_of_a_label(tmp_path: Path, data: bytes) -> None:
    assert labels(tmp_path, data) == ("tabby, tabby cat", "café")


def test_what_unicode_calls_a_line_end_stays_in_the_label(tmp_path: Path) -> None:
    assert labels(tmp_path, "a\u2028b\nc\x0bd\n".encode()) == ("a\u2028b", "c\x0bd")


def test_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model.labels.* not UTF-8 text \(a byte of line 2\)"):
        labels(tmp_path, "a\ncafé\n".encode("latin-1"))
