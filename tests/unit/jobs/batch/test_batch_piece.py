"""Cutting the input into pieces, and carrying one through Ray as a single row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import DataError
from darkroom.jobs.batch.piece import (
    Piece,
    check_ids,
    cut,
    even_lengths,
    ids_digest,
    pack,
    unpack,
)
from darkroom.jobs.rejects import Reject


@given(count=st.integers(1, 60), piece_rows=st.integers(1, 20))
def test_pieces_are_the_input_in_order(count: int, piece_rows: int) -> None:
    rows = pa.table({"id": [str(i) for i in range(count)]})
    pieces = cut(rows, even_lengths(count, piece_rows))
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    assert all(len(piece.table) == piece_rows for piece in pieces[:-1])
    assert 1 <= len(pieces[-1].table) <= piece_rows
    assert pa.concat_tables([piece.table for piece in pieces]).equals(rows)


def test_pieces_have_the_lengths_that_they_are_given() -> None:
    pieces = cut(pa.table({"id": list("abcde")}), [2, 1, 2])
    assert ["".join(piece.table["id"].to_pylist()) for piece in pieces] == ["ab", "c", "de"]
    assert [piece.num_rows for piece in pieces] == [2, 1, 2]


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=2, max_size=2, unique_by=str))
def test_the_digest_tells_lists_of_ids_apart(lists: list[list[str]]) -> None:
    first, second = lists
    assert ids_digest(first) != ids_digest(second)
    assert ids_digest(first) == ids_digest(list(first))


@given(
    values=st.lists(st.binary(max_size=50), min_size=0, max_size=5),
    detail=st.text(max_size=20).filter(lambda text: text.isprintable()),
)
def test_a_packed_piece_comes_out_as_it_was(values: list[bytes], detail: str) -> None:
    table = pa.table(
        {"id": [str(i) for i in range(len(values))], "data": pa.array(values, "binary")}
    )
    piece = Piece(7, table, 9, [Reject("z", "read", "bad", detail)], {"read": 0.5}, "abc")
    packed = pack(piece)
    assert len(packed) == 1, "Ray must not be able to cut a piece"
    again = unpack(packed)
    assert again.table.equals(table)
    assert (again.index, again.num_rows, again.rejects) == (7, 9, piece.rejects)
    assert (again.busy_seconds, again.ids_digest) == ({"read": 0.5}, "abc")


def test_a_slice_is_packed_without_the_rest_of_its_table() -> None:
    table = pa.table({"id": [str(i) for i in range(1000)], "data": [b"x" * 1000] * 1000})
    packed = pack(Piece(0, table.slice(500, 2), 2))
    assert packed.nbytes < 5000
    assert unpack(packed).table.equals(table.slice(500, 2))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"name": ["a"]}), "has no column 'id'"),
        (pa.table({"id": [1, 2]}), "make ids strings"),
        (pa.table({"id": ["a", None]}), "row 1 has no id"),
        (pa.table({"id": ["a", "b", "a"]}), "'a', is the id of more than one row"),
    ],
)
def test_ids_that_do_not_name_rows_are_refused(table: pa.Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_ids(table)
