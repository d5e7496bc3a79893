"""Which store keeps a URI."""

from __future__ import annotations

from pathlib import Path

from darkroom.storage.store import ObjectStore
from darkroom.storage.uri import Uri, parse_uri


def open_store(uri: Uri | str | Path) -> ObjectStore:
    """The store rooted at `uri`. Opens no connection. Errors: UriError."""
    root = parse_uri(uri)
    if root.scheme == "s3":
        from darkroom.storage.s3 import S3Store

        return S3Store(root)
    from darkroom.storage.local import LocalStore

    return LocalStore(root)
