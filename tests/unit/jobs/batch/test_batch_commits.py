"""Commits: a piece is committed once, whoever does it, and only what is whole counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.errors import IntegrityError
from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile, parse_commit
from darkroom.jobs.rejects import Reject
from darkroom.storage import PartWriter, open_store, parse_uri

RUN = "0" * 32
IDS = ["first", "second", "third"]


@pytest.fixture
def log(store_uri: str) -> CommitLog:
    """An empty log on local files, and on S3."""
    return CommitLog(PartWriter(parse_uri(store_uri), RUN))


def record(piece: int, rejects: tuple[Reject, ...] = ()) -> Commit:
    return Commit(piece, IDS[piece], 4, (), rejects)


def commit(log: CommitLog, piece: int, data: bytes = b"rows") -> Commit:
    return log.commit(record(piece), [PieceFile(f"data/part-{piece:05d}.parquet", data, 4)])


def objects(log: CommitLog) -> list[str]:
    return sorted(info.key for info in open_store(log.writer.output).list())


def test_a_committed_piece_is_found_again(log: CommitLog) -> None:
    rejects = (Reject("x", "decode", "truncated", "cut"),)
    there = log.commit(record(1, rejects), [PieceFile("data/part-00001.parquet", b"abc", 3)])
    assert there.rejects == rejects
    assert there.files[0].name == "data/part-00001.parquet"
    assert open_store(log.writer.output).get(there.files[0].key) == b"abc"
    assert log.committed(IDS) == {1: there}


def test_the_first_to_commit_wins_and_the_other_leaves_nothing(log: CommitLog) -> None:
    first = commit(log, 0, b"one")
    second = commit(log, 0, b"two")
    assert second == first
    assert open_store(log.writer.output).get(second.files[0].key) == b"one"
    assert len(objects(log)) == 2, "a part and a record"


def test_a_piece_without_good_rows_is_committed_too(log: CommitLog) -> None:
    log.commit(record(2), [])
    assert list(log.committed(IDS)) == [2]


@pytest.mark.parametrize(
    "damage", ["other ids", "part gone", "part cut", "no JSON", "other version"]
)
def test_a_record_that_does_not_hold_is_removed_and_said(
    log: CommitLog, damage: str, darkroom_log: list[str]
) -> None:
    commit(log, 0)
    bad = commit(log, 1)
    store = open_store(log.writer.output)
    ids = list(IDS)
    match damage:
        case "other ids":
            ids[1] = "otherwise"
        case "part gone":
            store.delete([bad.files[0].key])
        case "part cut":
            store.put(bad.files[0].key, b"ro")
        case "no JSON":
            store.put(log.key(1), b"{")
        case "other version":
            text = bad.to_json().decode().replace('"version": 1', '"version": 9')
            store.put(log.key(1), text.encode())
    assert list(log.committed(ids)) == [0]
    assert any("done again" in line for line in darkroom_log)
    assert log.key(1) not in objects(log)
    assert commit(log, 1).piece == 1


def test_a_foreign_object_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no commit record"):
        parse_commit(b'{"version": 1, "piece": 3}', uri=str(tmp_path))
