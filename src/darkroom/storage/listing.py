"""`ls`: what is at a URI, as an artifact's files or as the artifacts and folders below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from darkroom.errors import DataError, IntegrityError, ObjectNotFoundError
from darkroom.storage.artifact import Artifact, open_artifact
from darkroom.storage.manifest import ATTEMPTS_PREFIX, MANIFEST_KEY
from darkroom.storage.store import for_each
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri


@dataclass(frozen=True, slots=True)
class Listed:
    """One line: a file, a folder, or an artifact of a kind."""

    name: str
    kind: str
    num_bytes: int | None = None
    rows: int | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What is at `uri`; `artifact` when something is published right there."""

    uri: str
    artifact: Artifact | None
    entries: tuple[Listed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = {
            "uri": self.uri,
            "entries": [asdict(entry) for entry in self.entries],
        }
        if self.artifact is not None:
            manifest = self.artifact.manifest
            values["artifact"] = {
                "kind": manifest.kind,
                "digest": self.artifact.digest,
                "content_digest": self.artifact.content_digest,
                "created_at": manifest.created_at,
                "rows": manifest.rows,
                "metadata": manifest.metadata,
            }
        return values

    def text(self) -> str:
        """A header for an artifact, then one line for each entry."""
        lines = []
        if self.artifact is not None:
            manifest = self.artifact.manifest
            lines.append(
                f"{manifest.kind} {self.artifact.digest[:12]}, content"
                f" {self.artifact.content_digest[:12]}, published {manifest.created_at}"
            )
        lines += [_line(entry) for entry in self.entries]
        return "\n".join(lines)


def ls(uri: Uri | str) -> Listing:
    """List an artifact's files, or the level below a prefix with each artifact's kind.

    Errors: ObjectNotFoundError when nothing is there.
    """
    root = parse_uri(uri)
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        return Listing(str(root), None, tuple(_level(root)))
    entries = (
        Listed(entry.name, "file", entry.size, entry.rows) for entry in artifact.manifest.files
    )
    return Listing(str(root), artifact, tuple(entries))


def _level(root: Uri) -> Iterable[Listed]:
    store = open_store(root)
    children = [child for child in store.children() if child[0] != ATTEMPTS_PREFIX]
    if not children:
        raise ObjectNotFoundError(f"nothing is at {root}; check the URI")
    return for_each(lambda child: _listed(root, *child), children)


def _listed(root: Uri, name: str, size: int | None) -> Listed:
    if size is not None:
        return Listed(name, "file", size)
    try:
        artifact = open_artifact(root / name.rstrip("/"))
    except ObjectNotFoundError:
        return Listed(name, "folder")
    except (IntegrityError, DataError):
        return Listed(name, f"unreadable {MANIFEST_KEY}")
    manifest = artifact.manifest
    num_bytes = sum(entry.size for entry in manifest.files)
    return Listed(name, manifest.kind, num_bytes, manifest.rows, manifest.created_at)


def _line(entry: Listed) -> str:
    size = "" if entry.num_bytes is None else f"{entry.num_bytes:,}"
    rows = "" if entry.rows is None else f"{entry.rows:,} rows"
    return f"{entry.kind:12} {size:>16}  {rows:>14}  {entry.created_at or '':25}  {entry.name}"
