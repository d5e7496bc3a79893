"""Which pieces of a run are committed: one immutable record each, first come wins.

    <output>/attempts/<run>/commits/000012.json        written with If-None-Match
    <output>/attempts/<run>/data/part-00012.<tag>.parquet

`<run>` is a digest of what decides the output (config, code, parents, ids), so every driver of one
command shares its commits and no other run ever reads them. A piece's files are uploaded under
names of their own tag and verified; the record that names them is the commit. Whoever finds a
record there already throws its own files away: a piece is in the output once, whoever did it twice.

Readers see nothing of this until the manifest names the files (`storage/publish.py`), and
`storage gc` treats it as what it is: an attempt, garbage when idle for a day without a manifest.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.errors import DataError, IntegrityError, PreconditionFailedError
from darkroom.jobs.rejects import Reject
from darkroom.storage import FileEntry, ObjectStore, PartWriter, open_store
from darkroom.storage.manifest import decode_json, encode_json, parse_files
from darkroom.storage.store import for_each

VERSION = 1

_log = logging.getLogger("darkroom.batch")


@dataclass(frozen=True, slots=True)
class Commit:
    """The record of one committed piece."""

    piece: int
    ids_digest: str
    """Of the piece's input rows, in order."""
    num_rows: int
    """Input rows, the rejected ones among them."""
    files: tuple[FileEntry, ...]
    """The Parquet file first (none when every row was rejected), then the piece's other files."""
    rejects: tuple[Reject, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the verb wants to know of the piece when it publishes: plain JSON."""

    def to_json(self) -> bytes:
        """The bytes of the record."""
        return encode_json({"version": VERSION, **asdict(self)})


@dataclass(frozen=True, slots=True)
class PieceFile:
    """A file of a finished piece, before it is stored."""

    name: str
    """In the artifact."""
    data: bytes | Path
    rows: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def parse_commit(data: bytes, *, uri: str) -> Commit:
    """Errors: IntegrityError when the bytes are no record of this version."""
    values = decode_json(data, uri=uri, what="commit record")
    try:
        if values.pop("version") != VERSION:
            raise IntegrityError(f"{uri} has another version than {VERSION}")
        values["files"] = parse_files(values["files"], where=uri)
        values["rejects"] = tuple(Reject(**reject) for reject in values["rejects"])
        return Commit(**values)
    except (KeyError, TypeError, DataError) as error:
        raise IntegrityError(f"{uri} is no commit record of ours ({error})") from None


@dataclass(frozen=True, slots=True)
class CommitLog:
    """The commits of one run. Holds only its place, so Ray tasks carry it."""

    writer: PartWriter
    folder: str = "commits"

    def commit(self, commit: Commit, files: Sequence[PieceFile]) -> Commit:
        """Upload the files, several at once, and commit them as `commit`'s piece.

        Returns the commit that counts: another's when that piece was committed meanwhile.
        """
        tag = uuid.uuid4().hex[:12]
        mine = replace(commit, files=tuple(for_each(partial(self._upload, tag), files)))
        store, key = self._store(), self.key(commit.piece)
        try:
            store.put(key, mine.to_json(), if_none_match=True)
        except PreconditionFailedError:
            there = parse_commit(store.get(key), uri=str(store.root / key))
            if there != mine:  # not our own write, whose answer was lost
                store.delete([entry.key for entry in mine.files])
            return there
        return mine

    def committed(self, ids_digests: Sequence[str]) -> dict[int, Commit]:
        """The commits of pieces that need not be done again, each verified.

        One counts when it is whole, speaks of the very ids that the plan has in that piece, and
        the store holds its files with their sizes. Others are removed, and said so.
        """
        store = self._store()
        held = {info.key: info.size for info in store.list(self.writer.prefix)}
        keys = sorted(key for key in held if key.startswith(self._prefix))
        commits: dict[int, Commit] = {}
        for key, data in zip(keys, for_each(store.get, keys), strict=True):
            commit = self._verified(key, data, ids_digests, held)
            if commit is None:
                store.delete([key])
            else:
                commits[commit.piece] = commit
        return commits

    def key(self, piece: int) -> str:
        """Where a piece's record lies, relative to the output."""
        return f"{self._prefix}{piece:06d}.json"

    @property
    def _prefix(self) -> str:
        return f"{self.writer.prefix}{self.folder}/"

    def _store(self) -> ObjectStore:
        return open_store(self.writer.output)

    def _upload(self, tag: str, file: PieceFile) -> FileEntry:
        name, notes = _tagged(file.name, tag), file.metadata
        if isinstance(file.data, bytes):
            entry = self.writer.write_bytes(name, file.data, rows=file.rows, metadata=notes)
        else:
            entry = self.writer.write_file(name, file.data, rows=file.rows, metadata=notes)
        return replace(entry, name=file.name)

    def _verified(
        self, key: str, data: bytes, ids_digests: Sequence[str], held: Mapping[str, int]
    ) -> Commit | None:
        uri = f"{self.writer.output}/{key}"
        try:
            commit = parse_commit(data, uri=uri)
            problem = _problem(commit, ids_digests, held)
            if problem is None and key == self.key(commit.piece):
                return commit
            _log.warning("%s: %s; its piece is done again", uri, problem or "has another's name")
        except IntegrityError as error:
            _log.warning("%s; its piece is done again", error)
        return None


def _problem(commit: Commit, ids_digests: Sequence[str], held: Mapping[str, int]) -> str | None:
    if not 0 <= commit.piece < len(ids_digests):
        return f"piece {commit.piece} is none of the {len(ids_digests)} of this run"
    if commit.ids_digest != ids_digests[commit.piece]:
        return "is of other rows"
    for entry in commit.files:
        if held.get(entry.key) != entry.size:
            found: Any = held.get(entry.key, "nothing")
            return f"{entry.key} has {entry.size} bytes in the record, the store holds {found}"
    return None


def _tagged(name: str, tag: str) -> str:
    """The name under which a file is kept: beside those of others who did the same piece."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    return f"{folder}{slash}{stem}.{tag}{dot}{suffix}" if dot else f"{name}.{tag}"
