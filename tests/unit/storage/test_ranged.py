"""A ranged reader behaves as the file that it stands for."""

from __future__ import annotations

import io
import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.storage import open_store
from darkroom.storage.ranged import RangedReader

DATA = bytes(range(256)) * 4
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, 1200), st.just(os.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-50, 50), st.just(os.SEEK_END)),
        st.tuples(st.just("read"), st.integers(-1, 300), st.just(0)),
        st.tuples(st.just("readinto"), st.integers(0, 300), st.just(0)),
    ),
    max_size=8,
)


@given(STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_as_a_file_does(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    store = open_store(tmp_path)
    store.put("object", DATA)
    ranged = RangedReader(store, "object", len(DATA))
    plain = io.BytesIO(DATA)
    for what, number, whence in steps:
        if what == "seek":
            assert ranged.seek(number, whence) == plain.seek(number, whence)
        elif what == "read":
            assert ranged.read(number) == plain.read(number)
        else:
            ours, theirs = bytearray(number), bytearray(number)
            assert ranged.readinto(ours) == plain.readinto(theirs)
            assert ours == theirs
        assert ranged.tell() == plain.tell()
