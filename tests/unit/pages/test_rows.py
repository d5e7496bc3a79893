"""Rows are a list of dictionaries that shows itself, whatever the table holds."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from PIL import Image

from darkroom.pages.rows import MAX_SHOWN, TableRows

HOSTILE = "<script>alert(1)</script>"


def png(pixels: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (pixels, pixels), (9, 120, 40)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count: int) -> TableRows:
    return TableRows(pa.table({"id": [f"r{index}" for index in range(count)], "n": range(count)}))


def test_rows_are_a_sequence() -> None:
    five = rows(5)
    assert len(five) == 5
    assert five[1] == {"id": "r1", "n": 1}
    assert five[-1]["n"] == 4
    assert list(five[1:3]) == [{"id": "r1", "n": 1}, {"id": "r2", "n": 2}]
    assert [row["n"] for row in five[::-2]] == [4, 2, 0]
    assert five.column("n") == [0, 1, 2, 3, 4]
    assert five.to_arrow().num_rows == 5
    assert repr(five) == "5 rows of id, n"
    with pytest.raises(IndexError):
        five[5]


def test_they_show_pictures_numbers_and_escaped_text() -> None:
    table = pa.table(
        {
            HOSTILE: [HOSTILE, None],
            "image": [png(8), b"no picture"],
            "confidence": [0.123456, 1.0],
            "top": [["a", "b"], []],
        }
    )
    html = TableRows(table)._repr_html_()
    assert "<script" not in html
    assert html.count("<img") == 1
    assert "data:image/png;base64," in html
    assert "10 bytes" in html
    assert "0.1235" in html
    assert "a, b" in html


def test_a_long_table_shows_its_first_rows_and_says_how_many_more() -> None:
    html = rows(MAX_SHOWN + 1200)._repr_html_()
    assert html.count("<tr>") == MAX_SHOWN + 1
    assert "and 1,200 more rows" in html


def test_large_pictures_are_shown_small() -> None:
    noise = Image.effect_noise((600, 600), 80).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    shown = TableRows(pa.table({"image": [buffer.getvalue()]}))
    assert len(shown._repr_html_()) < 20_000 < len(buffer.getvalue())
    assert shown.pictures()[0].size == (600, 600)
