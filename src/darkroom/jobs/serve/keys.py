"""API keys: from a file or a folder, compared in constant time, rotated without a restart.

A file has `name key` on each line (`#` begins a comment); a folder has one file for each key, as
Kubernetes mounts a Secret, whose name is the key's name. A name that stands on several lines has
several keys, as while one takes another's place. What a request is refused or counted by is
the name; the keys themselves are hidden from every message and never logged.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

from darkroom.errors import ConfigError
from darkroom.jobs.serve.api_error import ApiError
from darkroom.messages import hide
from darkroom.watched_files import WatchedFiles

MIN_KEY_CHARS = 16
_MAX_BYTES = 2**20

Digests = tuple[tuple[str, bytes], ...]
"""(name, sha256 of a key of that name)."""


class KeyRing:
    """The keys that are valid now."""

    def __init__(self, place: str) -> None:
        """Errors: ConfigError for a place without usable keys."""
        self._path = Path(place)
        self._watched = WatchedFiles(self._files)
        self._digests = self._read()

    def owner_of(self, authorization: str | None) -> str:
        """The name of the key in an Authorization header. Errors: ApiError 401."""
        scheme, _, key = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(
                401, "an API key is needed: send Authorization: Bearer KEY", code="missing_api_key"
            )
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        # Every key is compared, so that the time taken tells nothing.
        for name, digest in self._current():
            if hmac.compare_digest(digest, given):
                found = name
        if found is None:
            raise ApiError(401, "the API key is not valid", code="invalid_api_key")
        return found

    def _current(self) -> Digests:
        if self._watched.have_changed():
            try:
                self._digests = self._read()
            except ConfigError:
                self._digests = ()  # what was withdrawn must open nothing
        return self._digests

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        return sorted(
            path
            for path in self._path.iterdir()
            if not path.name.startswith(".") and path.is_file()
        )

    def _read(self) -> Digests:
        where = str(self._path)
        try:
            keys = tuple(self._named_keys())
        except (OSError, UnicodeDecodeError) as error:
            problem = getattr(error, "strerror", None) or "is no text"
            raise ConfigError("keys", where, f"cannot be read ({problem})", _REMEDY) from None
        hide(*(key for _, key in keys))
        if not keys:
            raise ConfigError("keys", where, "holds no key", _REMEDY)
        for name, key in keys:
            if len(key) < MIN_KEY_CHARS:
                raise ConfigError(
                    "keys", where, f"the key of {name} has under {MIN_KEY_CHARS} characters",
                    "make one by `openssl rand -hex 32`",
                )  # fmt: skip
        return tuple((name, hashlib.sha256(key.encode()).digest()) for name, key in keys)

    def _named_keys(self) -> Iterator[tuple[str, str]]:
        if self._path.is_dir():
            for path in self._files():
                yield path.name, _text(path).strip()
            return
        for number, line in enumerate(_text(self._path).splitlines(), start=1):
            words = line.partition("#")[0].replace(":", " ", 1).split()
            if len(words) not in (0, 2):
                raise ConfigError(
                    "keys", str(self._path), f"line {number} is not `name key`", _REMEDY
                )
            if words:
                yield words[0], words[1]


_REMEDY = "write `name key` on each line, or a folder with one file per key"


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode()
