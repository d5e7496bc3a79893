"""`get`: an artifact as a plain folder that other programs read, every byte verified.

The files arrive in a hidden folder beside the target and take its place in one rename, so the
target is never half there. A small note (`.darkroom.json`) in the folder says what it came
from: it lets a later `get` replace what an earlier one wrote, and `lineage` start at a picture
on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import IntegrityError, OutputExistsError
from darkroom.storage.artifact import Artifact, name_below, open_artifact
from darkroom.storage.manifest import encode_json
from darkroom.storage.uri import Uri

NOTE_NAME = ".darkroom.json"


@dataclass(frozen=True, slots=True)
class FetchedNote:
    """What a fetched folder says of itself."""

    uri: str
    digest: str
    files: dict[str, str]
    """sha256 by name within the folder."""


def get(
    uri: Uri | str, directory: str | Path, *, prefix: str = "", overwrite: bool = False
) -> Path:
    """Download the artifact at `uri` (or its folder or file `prefix`) into `directory`.

    A folder that holds the same files already is left as it is. Errors: OutputExistsError for
    a folder with other contents (with `overwrite`: with files that no `get` wrote),
    IntegrityError, ObjectNotFoundError.
    """
    artifact = open_artifact(uri)
    target = Path(directory).absolute()
    wanted = {name_below(entry, prefix): entry.sha256 for entry in artifact.entries(prefix)}
    if target.exists() and _files_below(target):
        if _holds(target, wanted):
            return target
        _refuse(target, overwrite=overwrite)
    incoming = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        artifact.download(incoming, prefix=prefix)
        _write_note(incoming, artifact, wanted)
        _swap(incoming, target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return target


def read_note(folder: Path) -> FetchedNote | None:
    """What `get` noted in `folder`, if it wrote it. Errors: IntegrityError."""
    path = folder / NOTE_NAME
    try:
        return FetchedNote(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise IntegrityError(f"{path} is damaged; remove it and get the folder again") from None


def _write_note(folder: Path, artifact: Artifact, files: dict[str, str]) -> None:
    note = {"uri": str(artifact.uri), "digest": artifact.digest, "files": files}
    (folder / NOTE_NAME).write_bytes(encode_json(note))


def _files_below(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise OutputExistsError("directory", str(folder), "is a file", "choose a folder")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    found.pop(NOTE_NAME, None)
    return found


def _holds(folder: Path, wanted: dict[str, str]) -> bool:
    """Whether `folder` holds exactly these files with these contents."""
    found = _files_below(folder)
    return found.keys() == wanted.keys() and all(
        _sha256(path) == wanted[name] for name, path in found.items()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(folder: Path, *, overwrite: bool) -> None:
    if not overwrite:
        raise OutputExistsError(
            "directory",
            str(folder),
            "holds other files",
            "choose an empty folder, or give --overwrite",
        )
    note = read_note(folder)
    ours = note.files if note is not None else {}
    foreign = next((name for name in _files_below(folder) if name not in ours), None)
    if foreign is not None:
        raise OutputExistsError(
            "directory",
            str(folder),
            f"holds a file that does not come from an earlier get ({foreign})",
            "move it away, or choose another folder",
        )


def _swap(incoming: Path, target: Path) -> None:
    """Put `incoming` where `target` is, which then is gone or was never there."""
    outgoing = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    if target.exists():
        os.rename(target, outgoing)  # noqa: PTH104
    incoming.rename(target)
    shutil.rmtree(outgoing, ignore_errors=True)
