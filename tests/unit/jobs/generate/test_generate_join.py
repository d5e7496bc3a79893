"""The inner join adds columns, multiplies rows where it must, and names who has no partner."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.generate.config import JoinConfig
from darkroom.jobs.generate.join import inner_join
from darkroom.jobs.tables.row import Row
from darkroom.jobs.tables.table import TextTable
from darkroom.storage import Parent


def table(columns: str, *rows: tuple[str | None, ...]) -> TextTable:
    names = tuple(columns.split())
    made: list[Row] = [dict(zip(names, row, strict=True)) for row in rows]
    places = [f"line {number}" for number in range(2, len(rows) + 2)]
    return TextTable(names, made, places, Parent("source", "file:///t", "0", "table"))


def join(**values: Any) -> JoinConfig:
    return build_config(JoinConfig, {"input": "details", **values})


def test_details_are_added_in_the_order_of_the_subjects() -> None:
    subjects = table("id name", ("2", "owl"), ("1", "fox"))
    details = table("id hat", ("1", "cap"), ("2", "beret"))
    joined = inner_join(subjects, details, join())
    assert joined.columns == ("id", "name", "hat")
    assert joined.rows == [
        {"id": "2", "name": "owl", "hat": "beret"},
        {"id": "1", "name": "fox", "hat": "cap"},
    ]
    assert joined.places == ["line 2", "line 3"]


def test_several_details_make_several_rows() -> None:
    details = table("kind hat", ("a", "cap"), ("a", "beret"))
    joined = inner_join(table("id kind", ("1", "a")), details, join(on=["kind"]))
    assert [(row["id"], row["hat"]) for row in joined.rows] == [("1", "cap"), ("1", "beret")]


def test_keys_of_several_columns_must_all_be_equal() -> None:
    subjects = table("id kind", ("1", "a"), ("1", "b"))
    details = table("id kind hat", ("1", "b", "cap"))
    joined = inner_join(subjects, details, join(on=["id", "kind"]))
    assert [row["kind"] for row in joined.rows] == ["b"]
    assert "id='1', kind='a'" in joined.unmatched[0].detail


def test_whoever_has_no_partner_is_named() -> None:
    subjects = table("id", ("1",), ("2",), (None,))
    details = table("id hat", ("1", "cap"), ("9", "beret"), (None, "crown"))
    joined = inner_join(subjects, details, join())
    assert [(bad.id, bad.reason) for bad in joined.unmatched] == [
        ("line 3", "unmatched"),
        ("line 4", "unmatched"),
        ("details line 3", "unmatched"),
        ("details line 4", "unmatched"),
    ]
    assert len(joined.rows) == 1, "an empty key matches nothing"


keys = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8)


@given(subjects=keys, details=keys)
def test_no_row_is_lost_without_a_word(
    subjects: list[str | None], details: list[str | None]
) -> None:
    left = table("key n", *((key, str(n)) for n, key in enumerate(subjects)))
    right = table("key m", *((key, str(m)) for m, key in enumerate(details)))
    expected = [
        (str(n), str(m))
        for n, key in enumerate(subjects)
        for m, other in enumerate(details)
        if key == other is not None
    ]
    if not expected:
        with pytest.raises(DataError, match="no row matches at all"):
            inner_join(left, right, join(on=["key"]))
        return
    joined = inner_join(left, right, join(on=["key"]))
    assert [(row["n"], row["m"]) for row in joined.rows] == expected
    told = {bad.id for bad in joined.unmatched}
    for number, place in enumerate(left.places):
        assert (place in told) != any(n == str(number) for n, _ in expected)
    for number, place in enumerate(right.places):
        assert (f"details {place}" in told) != any(m == str(number) for _, m in expected)


@pytest.mark.parametrize(
    ("subjects", "details", "values", "message"),
    [
        ("idd", "id", {}, "'id'.*is no column of input; did you mean 'idd'"),
        ("id", "animal", {}, "is no column of join.input"),
        ("id name", "id name", {}, "name.*is a column of both tables"),
    ],
)
def test_columns_are_checked(
    subjects: str, details: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        inner_join(table(subjects), table(details), join(**values))


def test_unmatched_rows_can_be_refused() -> None:
    subjects, details = table("id", ("1",), ("2",)), table("id hat", ("1", "cap"))
    with pytest.raises(DataError, match=r"1 rows have no details and 0 details no row \(line 3"):
        inner_join(subjects, details, join(unmatched="refuse"))
