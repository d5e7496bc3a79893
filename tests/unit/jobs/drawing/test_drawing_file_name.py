"""A picture's file is named by its row's id, and two ids never share a name."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from darkroom.jobs.drawing.encode import file_name
from darkroom.storage.uri import parse_uri

ids = st.text(min_size=1, max_size=200).filter(str.isprintable)


@given(ids)
@example("..")
@example(".hidden")
@example("a/b")
@example("a" * 200)
@example("ü" * 200)
def test_any_id_gives_a_name_that_every_store_takes(row_id: str) -> None:
    name = file_name(row_id)
    assert re.fullmatch(r"images/[A-Za-z0-9_%-][A-Za-z0-9_.%~-]{0,250}\.png", name)
    assert str(parse_uri("s3://bucket/x") / name).endswith(name)


@given(st.sets(ids, min_size=2, max_size=2))
@example({"a/b", "a%2Fb"})
@example({"a" * 199 + "b", "a" * 199 + "c"})
def test_two_ids_never_share_a_name(pair: set[str]) -> None:
    assert len({file_name(row_id) for row_id in pair}) == 2


def test_plain_ids_stand_as_they_are() -> None:
    assert file_name("a-001_x.y") == "images/a-001_x.y.png"
