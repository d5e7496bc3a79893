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
    Manifest,
    parse_manifest,
)
from darkroom.storage.pointer_state import parse_pointer
from darkroom.storage.store import ObjectInfo, ObjectStore, Unfinished
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri

T = TypeVar("T")

DEFAULT_AGE = timedelta(hours=24)

# Only names that we give are ours to delete: another's folder may be called "attempts" too.
_ATTEMPT = re.compile(r"^(?P<output>(?:.*/)?)attempts/(?P<attempt>(?:probe-)?[0-9a-f]{32})/")
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
        for item in garbage:
            store.delete(survey.keys_of(item))
        for upload in uploads:
            store.abort(upload)
    return report


class _Survey:
    """One listing of everything below a URI, and what the manifests and pointers in it name."""

    def __init__(self, store: ObjectStore, before: datetime) -> None:
        self._store = store
        self._before = before
        self.notes: list[str] = []
        self._folders: dict[str, list[ObjectInfo]] = {}
        """Objects by attempt ("<output>attempts/<id>/") or checkpoint ("<run>checkpoints/<x>/")."""
        manifests, pointers = set(), set()
        for info in store.list(markers=True):
            for pattern in (_ATTEMPT, _CHECKPOINT):
                match = pattern.match(info.key)
                if match:
                    self._folders.setdefault(match[0], []).append(info)
            folder, _, name = info.key.rpartition("/")
            prefix = f"{folder}/" if folder else ""
            if name == MANIFEST_KEY:
                manifests.add(prefix)
            elif name == POINTER_KEY:
                pointers.add(prefix)
        # Read after the listing, so that a manifest is never older than what it is judged by.
        self._manifests = {
            prefix: self._parsed(prefix, MANIFEST_KEY, parse_manifest, prefix or "the output")
            for prefix in sorted(manifests)
        }
        self._pointers = {
            prefix: self._parsed(prefix, POINTER_KEY, parse_pointer, prefix + CHECKPOINTS_PREFIX)
            for prefix in sorted(pointers)
        }

    def attempts(self) -> Iterator[Garbage]:
        """Attempts that no manifest names."""
        for folder in self._old_folders(_ATTEMPT):
            match = _ATTEMPT.match(folder)
            output = match["output"] if match else ""
            manifest = self._manifests.get(output)
            if output in self._manifests and manifest is None:
                continue  # an unreadable manifest may name anything
            named = any(
                file.key.startswith(folder.removeprefix(output)) for file in _files(manifest)
            )
            if not named:
                yield self._garbage("attempt", folder)

    def checkpoints(self) -> Iterator[Garbage]:
        """Checkpoints with a manifest that neither their run's pointer nor a child names."""
        parents = {
            parent.uri
            for manifest in self._manifests.values()
            if manifest is not None
            for parent in manifest.parents
        }
        for folder in self._old_folders(_CHECKPOINT):
            match = _CHECKPOINT.match(folder)
            run = match["run"] if match else ""
            pointer = self._pointers.get(run)
            checkpoint = folder.rstrip("/")
            if pointer is None or folder not in self._manifests:
                continue
            if any(manifest is None for manifest in self._manifests.values()):
                continue
            named = pointer.named()
            uri = str(self._store.root / checkpoint)
            if checkpoint.removeprefix(run) not in named and uri not in parents:
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
        """Its objects, a checkpoint's manifest first so that it is never published with holes."""
        keys = [info.key for info in self._folders[garbage.key]]
        return sorted(keys, key=lambda key: (not key.endswith("/" + MANIFEST_KEY), key))

    def _is_ours(self, key: str) -> bool:
        # A local file's unfinished write may stand beside a manifest as well.
        return bool(_ATTEMPT.match(key)) or self._store.root.scheme == "file"

    def _old_folders(self, pattern: re.Pattern[str]) -> Iterator[str]:
        for folder, infos in sorted(self._folders.items()):
            if pattern.fullmatch(folder) and max(info.modified for info in infos) < self._before:
                yield folder

    def _garbage(self, kind: Literal["attempt", "checkpoint"], folder: str) -> Garbage:
        infos = self._folders[folder]
        newest = max(info.modified for info in infos)
        return Garbage(kind, folder, len(infos), sum(info.size for info in infos), newest)

    def _parsed(self, prefix: str, key: str, parse: Callable[..., T], what: str) -> T | None:
        """The document at `prefix` + `key`, or None and a note on what was left alone for it."""
        try:
            return parse(self._store.get(prefix + key), uri=f"{self._store.root}/{prefix}{key}")
        except (IntegrityError, DataError) as error:
            self.notes.append(f"{what} was left alone: {error}")
            return None


def _files(manifest: Manifest | None) -> Iterable[Any]:
    return manifest.files if manifest is not None else ()


def _as_garbage(upload: Unfinished) -> Garbage:
    return Garbage("upload", upload.key, 1, 0, upload.started)
