"""Outputs inside inputs are seen through links too."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import UriError
from darkroom.jobs.apart import check_apart


@pytest.mark.parametrize(
    ("source", "output", "says"),
    [
        ("in", "in", "is the input itself"),
        ("in", "in/out", "lies inside the input"),
        ("in", ".", "holds the input"),
        ("link", "in/out", "lies inside the input"),
        ("in", "link/out", "lies inside the input"),
        ("link", "in", "is the input itself"),
        ("link/deep", "in", "holds the input"),
    ],
)
def test_an_output_that_touches_the_input_is_refused(
    tmp_path: Path, source: str, output: str, says: str
) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(UriError, match=says):
        check_apart(str(tmp_path / output), str(tmp_path / source), field="input")


@pytest.mark.parametrize("output", ["out", "in2", "deep/in"])
def test_beside_it_is_fine(tmp_path: Path, output: str) -> None:
    check_apart(str(tmp_path / output), str(tmp_path / "in"), field="input")
    check_apart(f"s3://bucket/{output}", "s3://bucket/in", field="input")
