"""The journal of a study: one order for all readers, nothing lost, nothing twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.errors import FencedError, IntegrityError, PreconditionFailedError
from darkroom.jobs.tune.journal import StudyJournal
from darkroom.storage import ObjectStore, open_store
from darkroom.temporary import temporary_folder


def lines_of(journal: StudyJournal, start: int = 0) -> list[dict[str, Any]]:
    return list(journal.read_logs(start))


class LosingAnswers:
    """A store whose writes arrive, while some of their answers do not: the client sends again."""

    def __init__(self, store: ObjectStore, lost: set[int]) -> None:
        self.root = store.root
        self._store, self._lost, self._count = store, lost, 0

    def get(self, key: str) -> bytes:
        return self._store.get(key)

    def put(self, key: str, data: bytes, *, if_none_match: bool) -> str:
        self._count += 1
        etag = self._store.put(key, data, if_none_match=if_none_match)
        if self._count in self._lost:
            raise PreconditionFailedError("sent again, and found itself")
        return etag


@settings(max_examples=20)
@given(
    actions=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["one", "three", "read"])), max_size=30
    ),
    lost=st.sets(st.integers(1, 12)),
)
def test_writers_that_do_not_know_of_each_other_agree(
    actions: list[tuple[int, str]], lost: set[int]
) -> None:
    with temporary_folder() as folder:
        store = open_store(str(folder))
        journals = [StudyJournal(LosingAnswers(store, lost)) for _ in range(3)]  # type: ignore[arg-type]
        written = []
        for number, (writer, action) in enumerate(actions):
            if action == "read":
                lines_of(journals[writer])
                continue
            lines = [{"n": number, "part": part} for part in range(3 if action == "three" else 1)]
            journals[writer].append_logs(lines)
            written += lines
        # Each append ends before the next begins, so the one order is the order of the calls.
        for journal in [*journals, StudyJournal(store)]:
            assert lines_of(journal) == written
            assert lines_of(journal, 2) == written[2:]


def test_writers_at_the_same_moment_lose_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def write(writer: int) -> None:
        journal = StudyJournal(store)
        for number in range(12):
            journal.append_logs([{"writer": writer, "n": number}, {"writer": writer, "n": "b"}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = lines_of(StudyJournal(store))
    assert len(found) == 4 * 12 * 2
    for writer in range(4):
        own = [line["n"] for line in found if line["writer"] == writer]
        assert own[::2] == list(range(12))
    assert all(a["writer"] == b["writer"] for a, b in zip(found[::2], found[1::2], strict=True))


def test_what_belongs_together_is_one_entry_or_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    journal = StudyJournal(store)
    with journal.together():
        journal.append_logs([{"n": 1}])
        journal.append_logs([{"n": 2}])
        assert lines_of(journal) == [{"n": 1}, {"n": 2}], "its writer sees it at once"
        assert lines_of(journal, 1) == [{"n": 2}]
        assert lines_of(StudyJournal(store)) == [], "nobody else does"
    assert journal.num_entries == 1
    with journal.together():
        journal.append_logs([{"n": 3}])
        assert [lines_of(journal, start) for start in (1, 2, 3)] == [
            [{"n": 2}, {"n": 3}], [{"n": 3}], [],
        ]  # fmt: skip
        journal.append_logs([{"n": 4}])
    with pytest.raises(ZeroDivisionError), journal.together():
        _append_and_fail(journal)
    four = [{"n": number} for number in (1, 2, 3, 4)]
    assert lines_of(journal) == lines_of(StudyJournal(store)) == four


def test_a_driver_that_was_overtaken_is_told(tmp_path: Path) -> None:
    old, new = (StudyJournal(open_store(str(tmp_path))) for _ in range(2))
    with pytest.raises(FencedError, match="took this study over"), old.together():
        _append_both(old, new)
    assert lines_of(StudyJournal(open_store(str(tmp_path)))) == [{"n": "new"}]


def test_an_entry_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    StudyJournal(store).append_logs([{"n": 1}])
    store.put("journal/00000001.json", json.dumps(["no entry"]).encode())
    with pytest.raises(IntegrityError, match=r"journal/00000001.json is no entry"):
        lines_of(StudyJournal(store))


def _append_and_fail(journal: StudyJournal) -> None:
    journal.append_logs([{"n": 3}])
    raise ZeroDivisionError


def _append_both(old: StudyJournal, new: StudyJournal) -> None:
    old.append_logs([{"n": "old"}])
    new.append_logs([{"n": "new"}])
