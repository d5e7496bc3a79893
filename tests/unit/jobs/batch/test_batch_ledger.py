"""The ledger: a piece is committed once, whoever does it, and only what is whole counts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from darkroom.errors import IntegrityError
from darkroom.jobs.batch.ledger import Ledger, Record, parse_record
from darkroom.jobs.batch.reject import Reject
from darkroom.storage import PartWriter, open_store, parse_uri

RUN = "0" * 32
IDS = ["first", "second", "third"]


@pytest.fixture
def ledger(store_uri: str) -> Ledger:
    """An empty ledger on local files, and on S3."""
    return Ledger(PartWriter(parse_uri(store_uri), RUN))


def record(piece: int, rejects: tuple[Reject, ...] = ()) -> Record:
    return Record(piece, IDS[piece], 4, (), rejects)


def commit(ledger: Ledger, piece: int, data: bytes = b"rows") -> Record:
    return ledger.commit(record(piece), [(f"data/part-{piece:05d}.parquet", data, 4)])


def objects(ledger: Ledger) -> list[str]:
    return sorted(info.key for info in open_store(ledger.writer.output).list())


def test_a_committed_piece_is_found_again(ledger: Ledger) -> None:
    rejects = (Reject("x", "decode", "truncated", "cut"),)
    there = ledger.commit(record(1, rejects), [("data/part-00001.parquet", b"abc", 3)])
    assert there.rejects == rejects
    assert there.files[0].name == "data/part-00001.parquet"
    assert open_store(ledger.writer.output).get(there.files[0].key) == b"abc"
    assert ledger.committed(IDS) == {1: there}


def test_the_first_to_commit_wins_and_the_other_leaves_nothing(ledger: Ledger) -> None:
    first = commit(ledger, 0, b"one")
    second = commit(ledger, 0, b"two")
    assert second == first
    assert open_store(ledger.writer.output).get(second.files[0].key) == b"one"
    assert len(objects(ledger)) == 2, "a part and a record"


def test_a_piece_without_good_rows_is_committed_too(ledger: Ledger) -> None:
    ledger.commit(record(2), [])
    assert list(ledger.committed(IDS)) == [2]


@pytest.mark.parametrize(
    "damage", ["other ids", "part gone", "part cut", "no JSON", "other version"]
)
def test_a_record_that_does_not_hold_is_removed_and_said(
    ledger: Ledger, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    commit(ledger, 0)
    bad = commit(ledger, 1)
    store = open_store(ledger.writer.output)
    ids = list(IDS)
    match damage:
        case "other ids":
            ids[1] = "otherwise"
        case "part gone":
            store.delete([bad.files[0].key])
        case "part cut":
            store.put(bad.files[0].key, b"ro")
        case "no JSON":
            store.put(ledger.key(1), b"{")
        case "other version":
            text = bad.to_json().decode().replace('"version": 1', '"version": 9')
            store.put(ledger.key(1), text.encode())
    logger = logging.getLogger("darkroom")
    logger.propagate = True
    with caplog.at_level("WARNING", logger="darkroom.batch"):
        assert list(ledger.committed(ids)) == [0]
    assert "done again" in caplog.text
    assert ledger.key(1) not in objects(ledger)
    assert commit(ledger, 1).piece == 1


def test_a_sweep_leaves_only_what_is_named(ledger: Ledger) -> None:
    kept = commit(ledger, 0).files[0].key
    commit(ledger, 1)
    open_store(ledger.writer.output).put(f"{ledger.writer.prefix}run.json", b"{}")
    ledger.sweep([kept])
    assert objects(ledger) == sorted([kept, f"{ledger.writer.prefix}run.json"])


def test_a_foreign_object_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no ledger record"):
        parse_record(b'{"version": 1, "piece": 3}', uri=str(tmp_path))
