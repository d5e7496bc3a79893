"""Removing what nobody can read: attempts that no manifest names, and their unfinished uploads.

One listing finds every output below a URI. An attempt goes when nothing in it was written for
`older_than`; so does a checkpoint that its run's pointer does not name (a crash between
publishing it and moving the pointer leaves one) and that no manifest below the URI names as a
parent. Whatever a manifest or a pointer names stays. Nothing is deleted unless asked.

Assumes that no job sits idle for `older_than` between its last part and its manifest: gc reads
the manifests after the listing, but cannot stop a job that publishes while it deletes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from darkroom.errors import DataError, IntegrityError, StorageAccessError, UriError
from darkroom.storage.manifest import (
    ATTEMPTS_PREFIX,
    CHECKPOINTS_PREFIX,
    MANIFEST_KEY,
    POINTER_KEY,
    parse_manifest,
)
from darkroom.storage.pointer_state import parse_pointer
from darkroom.storage.store import ObjectInfo, ObjectStore, Unfinished, for_each
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri

T = TypeVar("T")

DEFAULT_AGE = timedelta(hours=24)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

# Only names that we give are ours to delete: another's folder may be called "attempts" too.
_ATTEMPT = re.compile(r"^(?P<output>(?:.*/)?)attempts/(?P<attempt>(?:probe-)?[0-9a-f]{32})/")
_FILE_OF_ATTEMPT = re.compile(rf"^{ATTEMPTS_PREFIX}[^/]+/")
_CHECKPOINT = re.compile(r"^(?P<run>(?:.*/)?)checkpoints/(?P<name>[^/]+)/")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something to remove. `key` is relative to the URI that was asked about."""

    kind: Literal["attempt", "checkpoint", "upload"]
    key: str
    num_objects: int
    num_bytes: int
    modified: datetime


@dataclass(slots=True)
class GcReport:
    """What was found, and whether it was removed."""

    uri: str
    garbage: list[Garbage]
    deleted: bool
    notes: list[str] = field(default_factory=list)
    """What could not be judged, and so was left alone."""

    @property
    def num_bytes(self) -> int:
        """The space that the garbage takes or took."""
        return sum(item.num_bytes for item in self.garbage)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "uri": self.uri,
            "deleted": self.deleted,
            "num_bytes": self.num_bytes,
            "garbage": [
                {**asdict(item), "modified": item.modified.isoformat(timespec="seconds")}
                for item in self.garbage
            ],
            "notes": self.notes,
        }

    def text(self) -> str:
        """One line for each thing, and a sum."""
        lines = [
            f"{item.kind:10} {item.num_objects:6} objects {item.num_bytes:14,} bytes"
            f"  {item.modified:%Y-%m-%d %H:%M}  {item.key}"
            for item in self.garbage
        ]
        done = "removed" if self.deleted else "would be removed (dry run; --delete removes)"
        lines.append(f"{len(self.garbage)} items, {self.num_bytes:,} bytes {done}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def gc(uri: Uri | str, older_than: timedelta = DEFAULT_AGE, *, delete: bool = False) -> GcReport:
    """Find, and with `delete` remove, what is older than `older_than` below `uri`.

    Errors: UriError for a URI inside an output, whose manifest would not be seen.
    """
    root = parse_uri(uri)
    if ATTEMPTS_PREFIX.rstrip("/") in root.key.split("/"):
        raise UriError("uri", str(root), "is inside an output", "give the output's own URI")
    store = open_store(root)
    survey = _Survey(store, datetime.now(UTC) - older_than)
    garbage = [*survey.attempts(), *survey.checkpoints()]
    uploads = survey.uploads()
    report = GcReport(str(root), [*garbage, *map(_as_garbage, uploads)], delete, survey.notes)
    if delete:
        for_each(lambda item: store.delete(survey.keys_of(item)), garbage)
        for upload in uploads:
            store.abort(upload)
    return report


@dataclass(slots=True)
class _Folder:
    """What lies below an attempt or a checkpoint: sums, for its objects may be a million."""

    num_objects: int = 0
    num_bytes: int = 0
    modified: datetime = _LONG_AGO
    """The newest object's."""

    def add(self, info: ObjectInfo) -> None:
        self.num_objects += 1
        self.num_bytes += info.size
        self.modified = max(self.modified, info.modified)


@dataclass(frozen=True, slots=True)
class _Named:
    """What a manifest names: attempts by the files in them, and its parents."""

    attempts: frozenset[str]
    parents: frozenset[str]

    @classmethod
    def of(cls, data: bytes, *, uri: str) -> _Named:
        """Errors: those of `parse_manifest`."""
        manifest = parse_manifest(data, uri=uri)
        attempts = (_FILE_OF_ATTEMPT.match(file.key) for file in manifest.files)
        return cls(
            frozenset(match[0] for match in attempts if match),
            frozenset(parent.uri for parent in manifest.parents),
        )


class _Survey:
    """One listing of everything below a URI, and what the manifests and pointers in it name."""

    def __init__(self, store: ObjectStore, before: datetime) -> None:
        self._store = store
        self._before = before
        self.notes: list[str] = []
        self._folders: defaultdict[str, _Folder] = defaultdict(_Folder)
        """By attempt ("<output>attempts/<id>/") or checkpoint ("<run>checkpoints/<x>/")."""
        manifests, pointers = [], []
        for info in store.list(markers=True):
            for pattern in (_ATTEMPT, _CHECKPOINT):
                match = pattern.match(info.key)
                if match:
                    self._folders[match[0]].add(info)
            folder, _, name = info.key.rpartition("/")
            prefix = f"{folder}/" if folder else ""
            if name == MANIFEST_KEY:
                manifests.append(prefix)
            elif name == POINTER_KEY:
                pointers.append(prefix)
        # Read after the listing, so that a manifest is never older than what it is judged by.
        self._manifests = self._parsed(
            manifests, MANIFEST_KEY, _Named.of, lambda prefix: prefix or "the output"
        )
        self._pointers = self._parsed(
            pointers, POINTER_KEY, parse_pointer, lambda prefix: prefix + CHECKPOINTS_PREFIX
        )

    def attempts(self) -> Iterator[Garbage]:
        """Attempts that no manifest names."""
        for folder in self._old_folders(_ATTEMPT):
            match = _ATTEMPT.match(folder)
            output = match["output"] if match else ""
            named = self._manifests.get(output)
            if output in self._manifests and named is None:
                continue  # an unreadable manifest may name anything
            if named is None or folder.removeprefix(output) not in named.attempts:
                yield self._garbage("attempt", folder)

    def checkpoints(self) -> Iterator[Garbage]:
        """Checkpoints with a manifest that neither their run's pointer nor a child names."""
        if None in self._manifests.values():
            return
        parents = {uri for named in self._manifests.values() if named for uri in named.parents}
        for folder in self._old_folders(_CHECKPOINT):
            match = _CHECKPOINT.match(folder)
            run = match["run"] if match else ""
            pointer = self._pointers.get(run)
            checkpoint = folder.rstrip("/")
            if pointer is None or folder not in self._manifests:
                continue
            uri = str(self._store.root / checkpoint)
            if checkpoint.removeprefix(run) not in pointer.named() and uri not in parents:
                yield self._garbage("checkpoint", folder)

    def uploads(self) -> list[Unfinished]:
        """Uploads into attempts that nobody completed."""
        try:
            return [
                upload
                for upload in self._store.unfinished()
                if upload.started < self._before and self._is_ours(upload.key)
            ]
        except StorageAccessError as error:
            self.notes.append(f"unfinished uploads were not looked at: {error}")
            return []

    def keys_of(self, garbage: Garbage) -> Iterable[str]:
        """Its objects, a checkpoint's manifest first so that it is never published with holes.

        They are listed anew; what was written to meanwhile is left alone, with a note.
        """
        infos = list(self._store.list(garbage.key, markers=True))
        if any(info.modified >= self._before for info in infos):
            self.notes.append(f"{garbage.key} was left alone: it was written to just now")
            return []
        keys = (info.key for info in infos)
        return sorted(keys, key=lambda key: (not key.endswith("/" + MANIFEST_KEY), key))

    def _is_ours(self, key: str) -> bool:
        # A local file's unfinished write may stand beside a manifest as well.
        return bool(_ATTEMPT.match(key)) or self._store.root.scheme == "file"

    def _old_folders(self, pattern: re.Pattern[str]) -> Iterator[str]:
        for name, folder in sorted(self._folders.items()):
            if pattern.fullmatch(name) and folder.modified < self._before:
                yield name

    def _garbage(self, kind: Literal["attempt", "checkpoint"], name: str) -> Garbage:
        folder = self._folders[name]
        return Garbage(kind, name, folder.num_objects, folder.num_bytes, folder.modified)

    def _parsed(
        self, prefixes: list[str], key: str, parse: Callable[..., T], what: Callable[[str], str]
    ) -> dict[str, T | None]:
        """The document `key` at each prefix, or None and a note on what was left alone for it."""

        def read(prefix: str) -> T | str:
            where = f"{self._store.root}/{prefix}{key}"
            try:
                return parse(self._store.get(prefix + key), uri=where)
            except (IntegrityError, DataError) as error:
                return f"{what(prefix)} was left alone: {error}"

        found: dict[str, T | None] = {}
        for prefix, document in zip(prefixes, for_each(read, prefixes), strict=True):
            if isinstance(document, str):
                self.notes.append(document)
            found[prefix] = None if isinstance(document, str) else document
        return found


def _as_garbage(upload: Unfinished) -> Garbage:
    return Garbage("upload", upload.key, 1, 0, upload.started)
