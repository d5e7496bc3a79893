"""What a file's first bytes say, where they are not what its name promises.

A clone without Git LFS leaves pointers, a download through a login page or a proxy leaves HTML,
and a copy that failed leaves nothing. Each is named as what it is, with what to do, before a
parser says something else of it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

HEAD_BYTES = 1024
"""So many first bytes are enough for `foreign`."""

_POINTERS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file really is, after "is", and what to do about it."""

    what: str
    remedy: str


_EMPTY = Foreign("is empty (0 bytes)", "write or download it again")
_POINTER = Foreign(
    "is a Git LFS pointer and not the file itself", "fetch the file with `git lfs pull`"
)
_ANNEX = Foreign(
    "is a git-annex pointer and not the file itself", "fetch the file with `git annex get`"
)
_PAGE = Foreign(
    "is a web page (HTML), as a login or an error page that was saved in place of the file",
    "download the file itself",
)
_ANSWER = Foreign("is a server's error answer (XML) and not the file itself", "download it again")
_NULLS = Foreign("holds NUL bytes only, as a write that a crash cut off", "write it again")


def foreign(head: bytes) -> Foreign | None:
    """What the file is in place of itself; None for what may be anything."""
    if not head:
        return _EMPTY
    if head.startswith(_POINTERS):
        return _POINTER
    if head.startswith(b"/annex/objects/"):
        return _ANNEX
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()[:HEAD_BYTES].lower()
    if text.startswith(_PAGES) or (text.startswith((b"<?xml", b"<!--")) and b"<html" in text):
        return _PAGE
    if text.startswith((b"<?xml", b"<error>")) and b"<error>" in text:
        return _ANSWER
    if not head.strip(b"\0"):
        return _NULLS
    return None
