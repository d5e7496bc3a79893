"""What is kept of a rejected row."""

from __future__ import annotations

import pytest

from darkroom.jobs.rejects import DEAD_LETTERS_SCHEMA, Rejects, dead_letter_table, plain_text


def raised(message: str) -> ValueError:
    with pytest.raises(ValueError, match=message) as caught:
        raise ValueError(message)
    return caught.value


def test_the_same_fault_at_the_same_place_has_one_digest() -> None:
    rejects = Rejects("read")
    rejects.add_error("a", "bad", raised("first"))
    rejects.add_error("b", "bad", raised("second"))
    try:
        int("no number")
    except ValueError as error:
        rejects.add_error("c", "bad", error)
    first, second, other = (reject.traceback for reject in rejects.found)
    assert first == second != other
    assert rejects.found[0].detail == "ValueError: first"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two lines"),
        ("nul \0 inside", "nul ? inside"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("x" * 100_000, "x" * 300),
        ("\x1b[31mred", "?[31mred"),
    ],
)
def test_a_detail_is_one_bounded_line_that_parquet_takes(text: str, shown: str) -> None:
    assert plain_text(text) == shown
    rejects = Rejects("prompt")
    rejects.add("a", "bad_prompt", text)
    table = dead_letter_table(rejects.found)
    assert table.schema == DEAD_LETTERS_SCHEMA
    assert table["detail"].to_pylist() == [shown]
    table.validate(full=True)
