"""Reading what was published: through the manifest, every byte verified.

Opening reads `manifest.json` only. Nothing lists the store, and no file is returned before
its sha256 equals the manifest's. The Parquet reader reads ranges, where a whole file's digest
cannot be checked: there the pages' own checksums are.
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import DataError, IntegrityError, ObjectNotFoundError
from darkroom.messages import with_article
from darkroom.storage.manifest import (
    MANIFEST_KEY,
    FileEntry,
    Manifest,
    Parent,
    parse_manifest,
    read_twice,
)
from darkroom.storage.names import make_files
from darkroom.storage.ranged import RangedReader
from darkroom.storage.store import ObjectStore, for_each
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class Artifact:
    """A published output. `digest` names it and its whole upstream, `content_digest` its bytes."""

    def __init__(self, uri: Uri, manifest: Manifest) -> None:
        self.uri = uri
        self.manifest = manifest
        self.digest = manifest.digest
        self.content_digest = manifest.content_digest

    def __repr__(self) -> str:
        return f"Artifact({str(self.uri)!r}, kind={self.manifest.kind!r}, {self.digest[:12]})"

    @cached_property
    def _by_name(self) -> dict[str, FileEntry]:
        return {entry.name: entry for entry in self.manifest.files}

    @property
    def store(self) -> ObjectStore:
        """The store that holds the files."""
        return open_store(self.uri)

    def entries(self, below: str = "") -> list[FileEntry]:
        """The files of the folder `below` (with its slash or without), or that one file.

        In the manifest's order.
        """
        folder = below.removesuffix("/") + "/" if below else ""
        return [
            entry
            for entry in self.manifest.files
            if entry.name.startswith(folder) or entry.name == below
        ]

    def entry(self, name: str) -> FileEntry:
        """One file. Errors: ObjectNotFoundError."""
        entry = self._by_name.get(name)
        if entry is None:
            raise ObjectNotFoundError(
                f"{self.uri} has no file {name!r}; `darkroom storage ls {self.uri}` shows its files"
            )
        return entry

    def read_bytes(self, name: str) -> bytes:
        """A whole file. Errors: IntegrityError, ObjectNotFoundError."""
        entry = self.entry(name)
        return read_twice(lambda: self._read(entry))

    def _read(self, entry: FileEntry) -> bytes:
        data = bytearray()
        for chunk in self.store.chunks(entry.key):
            data += chunk
        self._verify(entry, len(data), hashlib.sha256(data).hexdigest())
        return bytes(data)

    def read_json(self, name: str) -> Any:
        """A JSON file's value."""
        return json.loads(self.read_bytes(name))

    def read_table(self, name: str) -> pa.Table:
        """A whole Parquet file."""
        from darkroom.storage.parquet import read_table

        return read_table(io.BytesIO(self.read_bytes(name)), self._where(self.entry(name)))

    def parquet_file(self, name: str) -> pq.ParquetFile:
        """A Parquet file read by ranges; its page checksums are verified where it has them."""
        from darkroom.storage.parquet import VerifiedParquetFile

        entry = self.entry(name)
        reader = RangedReader(self.store, entry.key, entry.size)
        return VerifiedParquetFile(reader, self._where(entry))

    def download(
        self, directory: str | Path, *, prefix: str = "", strip_prefix: bool = True
    ) -> Path:
        """Files of the folder `prefix` into `directory`, all verified; returns it.

        With `strip_prefix`, "model/unet/config.json" of prefix "model" becomes
        "unet/config.json". Errors: IntegrityError, ObjectNotFoundError, DataError for a name that
        cannot be a file there.
        """
        directory = Path(directory)
        entries = self.entries(prefix)
        if not entries:
            raise ObjectNotFoundError(f"{self.uri} has no files below {prefix!r}")
        names = [name_below(entry, prefix) if strip_prefix else entry.name for entry in entries]
        targets = make_files(directory, names, where=str(self.uri))
        digests = self.store.download_many(
            [(entry.key, target) for entry, target in zip(entries, targets, strict=True)]
        )
        for entry, target, digest in zip(entries, targets, digests, strict=True):
            self._verify(entry, target.stat().st_size, self._again(entry, target, digest))
        return directory

    def _again(self, entry: FileEntry, target: Path, digest: str) -> str:
        """The digest of a second download where the first came damaged."""
        if digest == entry.sha256:
            return digest
        return self.store.download(entry.key, target)

    def verify(self) -> None:
        """Read every file and compare it with the manifest. Errors: as `read_bytes`."""
        for_each(self.verify_file, self.manifest.files)

    def verify_file(self, entry: FileEntry) -> None:
        """Read one file and compare it with the manifest. Errors: as `read_bytes`."""
        read_twice(lambda: self._verify(entry, *digest_of(self.store, entry.key)))

    def as_parent(self, role: str) -> Parent:
        """This artifact as something that another one was made from."""
        return Parent(role, str(self.uri), self.digest, self.manifest.kind, published=True)

    def _where(self, entry: FileEntry) -> str:
        return f"{self.uri}: {entry.name} ({entry.key})"

    def _verify(self, entry: FileEntry, size: int, sha256: str) -> None:
        where = self._where(entry)
        if size != entry.size:
            raise IntegrityError(f"{where} has {size} bytes, the manifest says {entry.size}")
        if sha256 != entry.sha256:
            raise IntegrityError(
                f"{where} has sha256 {sha256[:16]}..., the manifest says {entry.sha256[:16]}...;"
                " its bytes were changed after publishing"
            )


def name_below(entry: FileEntry, folder: str) -> str:
    """The file's name within `folder`, or its last part where `folder` is the file itself."""
    if entry.name == folder:
        return entry.name.rpartition("/")[2]
    return entry.name[len(folder.removesuffix("/")) + 1 :] if folder else entry.name


def digest_of(store: ObjectStore, key: str) -> tuple[int, str]:
    """Size and sha256 of an object, read in chunks."""
    digest = hashlib.sha256()
    size = 0
    for data in store.chunks(key):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


def open_artifact(uri: Uri | str | Path, *, kind: str | None = None) -> Artifact:
    """What is published at `uri`.

    Errors: ObjectNotFoundError when nothing is, DataError when it is not of `kind`,
    IntegrityError when the manifest is damaged.
    """
    root = parse_uri(uri)
    store = open_store(root)
    where = str(root / MANIFEST_KEY)
    try:
        manifest = read_twice(lambda: parse_manifest(store.get(MANIFEST_KEY), uri=where))
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"nothing is published at {root} (it has no {MANIFEST_KEY}); check the URI, or run"
            " the job that writes it to its end"
        ) from None
    if kind is not None and manifest.kind != kind:
        holds, wanted = with_article(manifest.kind), with_article(kind)
        raise DataError("input", str(root), f"holds {holds}", f"give the URI of {wanted}")
    return Artifact(root, manifest)
