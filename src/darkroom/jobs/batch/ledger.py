"""The ledger: one immutable record per committed piece, first come wins.

    <output>/attempts/<run>/ledger/000012.json         written with If-None-Match
    <output>/attempts/<run>/data/part-00012.<try>.parquet

`<run>` is a digest of what decides the output (config, code, parents, ids), so every try of one
command shares the ledger and no other run ever reads it. A piece's files are uploaded under names
of their own try and verified; the record that names them is the commit. Whoever finds a record
there already throws its own files away: a piece is in the output once, whoever did it twice.

Readers see nothing of this until the manifest names the files (`storage/publish.py`), and
`storage gc` treats it as what it is: an attempt, garbage when idle for a day without a manifest.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from darkroom.errors import DataError, IntegrityError, PreconditionFailedError
from darkroom.jobs.batch.reject import Reject
from darkroom.storage import FileEntry, ObjectStore, PartWriter, open_store
from darkroom.storage.manifest import decode_json, encode_json, parse_files
from darkroom.storage.store import for_each

LEDGER_PREFIX = "ledger/"
VERSION = 1

_log = logging.getLogger("darkroom.batch")


@dataclass(frozen=True, slots=True)
class Record:
    """One committed piece."""

    piece: int
    ids_digest: str
    """Of the piece's input rows, in order."""
    num_rows: int
    """Input rows: those in the files and the rejected ones."""
    files: tuple[FileEntry, ...]
    """The Parquet part first (none when every row was rejected), then the piece's other files."""
    rejects: tuple[Reject, ...]

    def to_json(self) -> bytes:
        """The bytes of the record."""
        return encode_json({"version": VERSION, **asdict(self)})


def parse_record(data: bytes, *, uri: str) -> Record:
    """Errors: IntegrityError when the bytes are no record of this version."""
    values = decode_json(data, uri=uri, what="ledger record")
    try:
        if values.pop("version") != VERSION:
            raise IntegrityError(f"{uri} has another version than {VERSION}")
        values["files"] = parse_files(values["files"], where=uri)
        values["rejects"] = tuple(Reject(**reject) for reject in values["rejects"])
        return Record(**values)
    except (KeyError, TypeError, DataError) as error:
        raise IntegrityError(f"{uri} is no ledger record of ours ({error})") from None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The records of one run. Holds only its place, so Ray tasks carry it."""

    writer: PartWriter

    def commit(self, record: Record, contents: Iterable[tuple[str, bytes, int | None]]) -> Record:
        """Upload (name, bytes, rows) and commit them as `record`'s piece.

        Returns the record that counts: another's when that piece was committed meanwhile.
        """
        attempt = uuid.uuid4().hex[:12]
        entries = tuple(
            replace(self.writer.write_bytes(_of_try(name, attempt), data, rows=rows), name=name)
            for name, data, rows in contents
        )
        mine = replace(record, files=entries)
        store, key = self._store(), self.key(record.piece)
        try:
            store.put(key, mine.to_json(), if_none_match=True)
        except PreconditionFailedError:
            there = parse_record(store.get(key), uri=str(store.root / key))
            if there != mine:  # not our own write, whose answer was lost
                store.delete([entry.key for entry in entries])
            return there
        return mine

    def committed(self, ids_digests: Sequence[str]) -> dict[int, Record]:
        """The records of pieces that need not be done again, each verified.

        A record counts when it is whole, speaks of the very ids that the plan has in that piece,
        and the store holds its files with their sizes. Others are removed, and said so.
        """
        store = self._store()
        held = {info.key: info.size for info in store.list(self.writer.prefix)}
        keys = sorted(key for key in held if key.startswith(self._prefix))
        records: dict[int, Record] = {}
        for key, data in zip(keys, for_each(store.get, keys), strict=True):
            record = self._verified(key, data, ids_digests, held)
            if record is None:
                store.delete([key])
            else:
                records[record.piece] = record
        return records

    def sweep(self, named: Iterable[str]) -> None:
        """After publishing: remove the records, and files of tries that nothing names."""
        keep = set(named)
        store = self._store()
        store.delete(
            [
                info.key
                for info in store.list(self.writer.prefix)
                if info.key not in keep and not info.key.endswith("/run.json")
            ]
        )

    def key(self, piece: int) -> str:
        """Where a piece's record lies, relative to the output."""
        return f"{self._prefix}{piece:06d}.json"

    @property
    def _prefix(self) -> str:
        return self.writer.prefix + LEDGER_PREFIX

    def _store(self) -> ObjectStore:
        return open_store(self.writer.output)

    def _verified(
        self, key: str, data: bytes, ids_digests: Sequence[str], held: Mapping[str, int]
    ) -> Record | None:
        uri = f"{self.writer.output}/{key}"
        try:
            record = parse_record(data, uri=uri)
            fault = _fault(record, ids_digests, held)
            if fault is None and key == self.key(record.piece):
                return record
            _log.warning("%s: %s; its piece is done again", uri, fault or "has another's name")
        except IntegrityError as error:
            _log.warning("%s; its piece is done again", error)
        return None


def _fault(record: Record, ids_digests: Sequence[str], held: Mapping[str, int]) -> str | None:
    if not 0 <= record.piece < len(ids_digests):
        return f"piece {record.piece} is none of the {len(ids_digests)} of this run"
    if record.ids_digest != ids_digests[record.piece]:
        return "is of other rows"
    for entry in record.files:
        if held.get(entry.key) != entry.size:
            found: Any = held.get(entry.key, "nothing")
            return f"{entry.key} has {entry.size} bytes in the record, the store holds {found}"
    return None


def _of_try(name: str, attempt: str) -> str:
    """The name under which this try keeps a file: beside those of other tries."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    return f"{folder}{slash}{stem}.{attempt}{dot}{suffix}" if dot else f"{name}.{attempt}"
