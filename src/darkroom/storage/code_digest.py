"""The digest of the code that is running: sha256 over the package's own sources."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import darkroom


@cache
def code_digest() -> str:
    """sha256 (hex) over the relative paths and bytes of every `*.py` of the package."""
    root = Path(darkroom.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
