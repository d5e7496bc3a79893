"""Writing the parts of one attempt: uploaded with a checksum, then compared with the store.

A `PartWriter` holds nothing but the attempt's URI, so Ray tasks carry it between processes; it
tells them that the server has answered (`answered.py`).
Parts are invisible to readers until `publish.py` names them in a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darkroom.errors import IntegrityError
from darkroom.storage import answered
from darkroom.storage.failpoint import failpoint
from darkroom.storage.manifest import ATTEMPTS_PREFIX, FileEntry
from darkroom.storage.names import check_name
from darkroom.storage.store import ObjectInfo, Source, Written
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Writes parts under `<output>/attempts/<attempt>/`."""

    output: Uri
    attempt: str

    def __reduce__(self) -> tuple[Any, ...]:
        """An attempt is begun in the store, so its server has answered whoever sends this."""
        return _sent, (self.output, self.attempt)

    @property
    def prefix(self) -> str:
        """What the keys of this attempt begin with."""
        return attempt_prefix(self.attempt)

    def write_bytes(
        self,
        name: str,
        data: bytes,
        *,
        rows: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        content: bool = True,
    ) -> FileEntry:
        """Upload `data` as the file `name`; `content` as in `FileEntry`.

        Errors: IntegrityError when the store then holds other bytes.
        """
        return replace(self._write(name, data, rows, metadata), content=content)

    def write_file(
        self,
        name: str,
        path: str | Path,
        *,
        rows: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FileEntry:
        """Upload the file at `path` as `name`; read once, large ones in parallel parts."""
        return self._write(name, Path(path), rows, metadata)

    def write_tree(self, directory: str | Path, *, prefix: str = "") -> list[FileEntry]:
        """Upload every file below `directory` as `prefix` + its relative path, concurrently."""
        directory = Path(directory)
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        names = [prefix + path.relative_to(directory).as_posix() for path in paths]
        failpoint("publish.before-part")
        store = open_store(self.output)
        written = store.upload_many(
            [(path, self._key(name)) for path, name in zip(paths, names, strict=True)]
        )
        # One listing answers for a thousand files where each HEAD answers for one.
        held = {info.key: info for info in store.list(self.prefix + prefix)}
        for item in written:
            try:
                verify_written(self.output, item, held.get(item.key))
            except IntegrityError:  # a listing has no checksum, and bits flip on its way as well
                verify_written(self.output, item, store.head(item.key))
        failpoint("publish.after-part")
        return [
            FileEntry(name, item.key, item.size, item.sha256)
            for name, item in zip(names, written, strict=True)
        ]

    def _write(
        self, name: str, source: Source, rows: int | None, metadata: Mapping[str, Any] | None
    ) -> FileEntry:
        failpoint("publish.before-part")
        store = open_store(self.output)
        written = store.upload(source, self._key(name))
        verify_written(self.output, written, store.head(written.key))
        failpoint("publish.after-part")
        return FileEntry(
            name, written.key, written.size, written.sha256, rows, dict(metadata or {})
        )

    def _key(self, name: str) -> str:
        key = self.prefix + check_name(name, where="name")
        _ = self.output / key  # refuses keys that are too long
        return key


def attempt_prefix(attempt: str) -> str:
    """What the keys of an attempt begin with."""
    return f"{ATTEMPTS_PREFIX}{attempt}/"


def verify_written(output: Uri, written: Written, held: ObjectInfo | None) -> None:
    """Compare what was sent with what the store says it holds. Errors: IntegrityError."""
    where = f"{output / written.key}"
    if held is None:
        raise IntegrityError(f"{where} is gone right after it was written; run the job again")
    if held.size != written.size:
        raise IntegrityError(
            f"{where}: {written.size} bytes were sent, the store holds {held.size}"
        )
    for what, sent, found in (
        ("checksum", written.checksum, held.checksum),
        ("ETag", written.etag, held.etag),
    ):
        if sent is not None and found is not None and sent != found:
            raise IntegrityError(f"{where}: the store's {what} {found} is not the sent {sent}")


def _sent(output: Uri, attempt: str) -> PartWriter:
    answered.tell()
    return PartWriter(output, attempt)
