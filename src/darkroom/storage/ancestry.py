"""Where a published thing comes from: its parents, theirs, and so on, each verified if it can be.

A child records the digest of each parent's manifest; a manifest records the sha256 of each
file. So one changed byte anywhere upstream shows, and is named with its URI and its file.
Whether a parent was published stands in its child's manifest. Sources outside Darkroom (a folder
of images, a built-in data set) are leaves: their digest is shown as it was recorded, and what is
not verified is never summed up as verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from darkroom.errors import DataError, IntegrityError, ObjectNotFoundError, UriError
from darkroom.storage.artifact import Artifact, digest_of, open_artifact
from darkroom.storage.fetch import read_note
from darkroom.storage.manifest import FileEntry, Parent
from darkroom.storage.store import for_each
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri

_DAMAGE = (IntegrityError, ObjectNotFoundError, DataError, UriError)


@dataclass(slots=True)
class Ancestor:
    """One thing in the tree. `digest` is what its child recorded; `problems` is what is wrong."""

    role: str
    uri: str
    kind: str
    digest: str
    published: bool | None
    """None when the child's manifest, of an older Darkroom, does not say."""
    created_at: str | None = None
    content_digest: str | None = None
    verified: bool = False
    """Its manifest has this digest and every file, each of which was read, its sha256."""
    problems: list[str] = field(default_factory=list)
    parents: list[Ancestor] = field(default_factory=list)

    def walk(self) -> Iterator[Ancestor]:
        """This one, then its parents', depth first."""
        yield self
        for parent in self.parents:
            yield from parent.walk()


@dataclass(frozen=True, slots=True)
class Lineage:
    """A tree of ancestors, and the file in its root that was asked about."""

    root: Ancestor
    file: FileEntry | None = None
    files_read: bool = True
    """False when the manifests were trusted."""

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, each once."""
        found = [problem for ancestor in self.root.walk() for problem in ancestor.problems]
        return list(dict.fromkeys(found))

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with what was looked at."""
        return not self.problems

    @property
    def not_verified(self) -> list[Ancestor]:
        """What was not read and found right, each once."""
        found = (ancestor for ancestor in self.root.walk() if not ancestor.verified)
        return list({(ancestor.uri, ancestor.digest): ancestor for ancestor in found}.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        file = {"name": self.file.name, "sha256": self.file.sha256} if self.file else None
        return {
            "ok": self.ok,
            "file": file,
            "root": asdict(self.root),
            "problems": self.problems,
            "not_verified": [ancestor.uri for ancestor in self.not_verified],
        }

    def text(self) -> str:
        """The tree for people, and below it what is wrong."""
        lines = []
        if self.file is not None:
            lines.append(f"{self.file.name}  sha256 {self.file.sha256[:12]}")
        lines += _draw(self.root, "", "", set())
        return "\n".join([*lines, *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        if not self.ok:
            yield "NOT intact:"
            yield from (f"  {problem}" for problem in self.problems)
        elif not self.files_read:
            yield "the manifests agree; no file was read"
        else:
            left = self.not_verified
            yield from (f"not verified: {ancestor.uri}{_unverified(ancestor)}" for ancestor in left)
            if any(ancestor.published is None for ancestor in left):
                yield "NOT everything could be verified; give `lineage` the URIs that are named"
            elif left:
                yield "of what Darkroom published, every digest verified"
            else:
                yield "every digest verified"


def lineage(uri: Uri | str | Path, *, verify: bool = True) -> Lineage:
    """The ancestors of an artifact, or of one file in it.

    `uri` is an artifact's, a file's below it (by its name or its key), `artifact#name`, or the
    path of a folder that `get` wrote, or of a file in it. With `verify` every file of every
    ancestor is read, and of such a folder.
    Errors: ObjectNotFoundError, UriError; damage is reported, not raised.
    """
    artifact, name, extra = _locate(str(uri), verify=verify)
    file = artifact.entry(name) if name is not None else None
    root = _Tree(verify=verify).ancestor(artifact.as_parent(""))
    if extra:
        root.problems.extend(extra)
        root.verified = False
    return Lineage(root, file, verify)


class _Tree:
    """Builds each ancestor once, however many children name it."""

    def __init__(self, *, verify: bool) -> None:
        self._verify = verify
        self._known: dict[tuple[str, str], Ancestor] = {}

    def ancestor(self, parent: Parent) -> Ancestor:
        found = Ancestor(parent.role, parent.uri, parent.kind, parent.digest, parent.published)
        if parent.published is not True:
            return found
        known = self._known.get((parent.uri, parent.digest))
        if known is not None:
            found.created_at, found.verified = known.created_at, known.verified
            found.problems, found.parents = known.problems, known.parents
            found.content_digest = known.content_digest
            return found
        self._known[parent.uri, parent.digest] = found
        try:
            artifact = open_artifact(parent.uri)
        except _DAMAGE as error:
            found.problems.append(str(error))
            return found
        self._examine(artifact, found)
        return found

    def _examine(self, artifact: Artifact, found: Ancestor) -> None:
        found.created_at = artifact.manifest.created_at
        found.content_digest = artifact.content_digest
        if artifact.digest != found.digest:
            found.problems.append(
                f"{found.uri}: its manifest has digest {artifact.digest[:12]}, not the"
                f" {found.digest[:12]} that was used; it was published again or changed"
            )
        if self._verify:
            found.problems.extend(_damaged_files(artifact))
        found.verified = self._verify and not found.problems
        found.parents = [self.ancestor(parent) for parent in artifact.manifest.parents]


def _damaged_files(artifact: Artifact) -> list[str]:
    def problem(entry: FileEntry) -> str | None:
        try:
            artifact.verify_file(entry)
        except _DAMAGE as error:
            return str(error)
        return None

    problems = for_each(problem, artifact.manifest.files)
    return [found for found in problems if found is not None]


def _locate(text: str, *, verify: bool) -> tuple[Artifact, str | None, list[str]]:
    """The artifact meant, the file in it if one is, and problems of a local copy."""
    head, mark, name = text.rpartition("#")
    # A local folder may have a # in its name.
    if mark and (text.startswith("s3:") or not parse_uri(text).path.exists()):
        return open_artifact(head), name, []
    uri = parse_uri(text)
    try:
        return open_artifact(uri), None, []
    except ObjectNotFoundError:
        pass
    if uri.scheme == "file" and (fetched := _fetched(uri.path, verify=verify)):
        return fetched
    return _enclosing(uri)


def _fetched(path: Path, *, verify: bool) -> tuple[Artifact, str | None, list[str]] | None:
    """What the file or folder at `path` was fetched from, by the note that `get` left."""
    for folder in path.parents if path.is_file() else (path, *path.parents):
        note = read_note(folder)
        if note is None:
            continue
        if not note.complete:
            raise IntegrityError(f"{folder} is an unfinished copy of {note.uri}; get it again")
        name = path.relative_to(folder).as_posix()
        files = {file: sha for file, sha in note.files.items() if _is_below(file, name)}
        if not files:
            return None
        artifact = open_artifact(note.uri)
        entries = {entry.sha256: entry.name for entry in artifact.manifest.files}
        if not files.keys() <= {name} and artifact.digest != note.digest:
            raise IntegrityError(f"{note.uri} was published again after {folder} was fetched")
        if not entries.keys() >= set(files.values()):
            return None
        changed = _changed(folder, files) if verify else []
        return artifact, entries[files[name]] if name in files else None, changed
    return None


def _is_below(file: str, name: str) -> bool:
    return name in (".", file) or file.startswith(f"{name}/")


def _changed(folder: Path, files: Mapping[str, str]) -> list[str]:
    def problem(name: str) -> str | None:
        try:
            same = digest_of(store, name)[1] == files[name]
        except ObjectNotFoundError:
            return f"{folder / name} is gone since it was fetched"
        return None if same else f"{folder / name} was changed since it was fetched"

    store = open_store(folder)
    return [found for found in for_each(problem, list(files)) if found is not None]


def _enclosing(uri: Uri) -> tuple[Artifact, str, list[str]]:
    """The artifact above a file's URI."""
    above = uri
    while above.key:
        above = above.parent
        try:
            artifact = open_artifact(above)
        except ObjectNotFoundError:
            continue
        rest = str(uri).removeprefix(f"{above}/")
        for entry in artifact.manifest.files:
            if rest in (entry.name, entry.key):
                return artifact, entry.name, []
        raise ObjectNotFoundError(f"{artifact.uri} has no file {rest!r}")
    raise ObjectNotFoundError(f"{uri} is neither an artifact nor a file of one")


def _unverified(ancestor: Ancestor) -> str:
    if ancestor.published is True:
        return ""
    if ancestor.published is None:
        return "  (not said whether Darkroom published it)"
    return "  (outside Darkroom)"


def _draw(ancestor: Ancestor, first: str, rest: str, seen: set[str]) -> Iterator[str]:
    role = f"{ancestor.role}: " if ancestor.role else ""
    state = "  DAMAGED" if ancestor.problems else _unverified(ancestor)
    yield f"{first}{role}{ancestor.kind}  {ancestor.uri}  {ancestor.digest[:12]}{state}"
    if ancestor.uri in seen and ancestor.parents:
        yield f"{rest}└─ (as above)"
        return
    seen.add(ancestor.uri)
    for number, parent in enumerate(ancestor.parents, start=1):
        last = number == len(ancestor.parents)
        branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _draw(parent, rest + branch, rest + below, seen)
