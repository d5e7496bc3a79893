"""One value for every place that Darkroom reads or writes, and the one parser of it.

Assumes nothing about the store: parsing opens no connection and reads no file. Characters
are literal (no percent-decoding), so a URI prints exactly as it was given and two spellings
of one place do not exist. S3's rules for names are for S3; a local name may be any that prints.
`s3_errors.py` explains what the store then refuses.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from darkroom.errors import UriError
from darkroom.places import absolute, is_uri
from darkroom.storage.names import CONTROL

MAX_KEY_BYTES = 1024
ANONYMOUS = "anonymous"

_SCHEME = re.compile(r"^\s*([A-Za-z][A-Za-z0-9+.-]*):(/*)")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_IP_ADDRESS = re.compile(r"^\d+\.\d+\.\d+\.\d+$")


@dataclass(frozen=True, slots=True)
class Uri:
    """`s3://bucket/key`, `s3://anonymous@bucket/key` or `file:///path`.

    `key` has no leading or trailing slash; for files it is the absolute path without its
    leading slash and `bucket` is empty. `uri / "a/b"` checks what it appends.
    """

    scheme: Literal["s3", "file"]
    bucket: str
    key: str
    anonymous: bool = False

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file:///{self.key}"
        user = f"{ANONYMOUS}@" if self.anonymous else ""
        return f"s3://{user}{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, child: str) -> Uri:
        key = f"{self.key}/{child}" if self.key else child
        _check_segments(key, f"{self}/{child}", "uri")
        if self.scheme == "s3":
            _check_length(key, f"{self}/{child}", "uri")
        return replace(self, key=key)

    @property
    def name(self) -> str:
        """The last segment; the bucket's name at a bucket's root."""
        return self.key.rsplit("/", 1)[-1] or self.bucket

    @property
    def parent(self) -> Uri:
        """One segment up; a root is its own parent."""
        return replace(self, key=self.key.rpartition("/")[0])

    @property
    def path(self) -> Path:
        """The local path of a file URI."""
        if self.scheme != "file":
            raise UriError("uri", str(self), "is not a local path")
        return Path("/" + self.key)


def parse_uri(text: str | Uri | Path, *, field: str = "uri") -> Uri:
    """Read an `s3://` or `file://` URI, or a plain path (which becomes an absolute file URI).

    Errors: UriError naming `field`, the text and what to write instead.
    """
    if isinstance(text, Uri):
        return text
    text = str(text)
    _check_text(text, field)
    match = _SCHEME.match(text)
    if match is None or not is_uri(text) or text.startswith("file:///"):
        return _parse_path(text, field)
    _check_uri(text, field)
    scheme, slashes = match.groups()
    if scheme not in ("s3", "file"):
        raise _wrong_scheme(text, scheme, field)
    if scheme == "file":
        raise UriError(
            field, text, "a file URI names an absolute path", "write file:///absolute/path"
        )
    if slashes != "//":
        fixed = f"s3://{text[match.end() :]}"
        raise UriError(field, text, "needs exactly two slashes after s3:", f"write {fixed}")
    return _parse_s3(text, field)


def _check_text(text: str, field: str) -> None:
    if not text:
        raise UriError(field, text, "is empty", "give s3://bucket/prefix or a path")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UriError(field, text, "is not valid Unicode", "remove the lone surrogates") from None
    if CONTROL.search(text):
        raise UriError(field, text, "contains a control character", "remove it")


def _check_uri(text: str, field: str) -> None:
    if text != text.strip():
        raise UriError(field, text, "begins or ends with a space", "remove it")
    if unicodedata.normalize("NFC", text) != text:
        raise UriError(
            field, text, "is not in Unicode NFC", "type the accented letters as single characters"
        )
    for character, what in (("?", "a query"), ("#", "a fragment")):
        if character in text:
            raise UriError(field, text, f"contains {what}", f"remove {character!r}")


def _wrong_scheme(text: str, scheme: str, field: str) -> UriError:
    lower = scheme.lower()
    if lower in ("s3", "file"):
        fixed = lower + text[len(scheme) :]
        return UriError(field, text, "the scheme must be lower case", f"write {fixed}")
    return UriError(
        field, text, f"the scheme {scheme!r} is not supported", "use s3://bucket/prefix or a path"
    )


def _parse_path(text: str, field: str) -> Uri:
    try:
        return Uri("file", "", absolute(text).lstrip("/"))
    except ValueError as error:
        raise UriError(field, text, str(error)) from None


def _parse_s3(text: str, field: str) -> Uri:
    authority, _, key = text.removeprefix("s3://").partition("/")
    user, at, bucket = authority.rpartition("@")
    if at and user != ANONYMOUS:
        # The value may hold a secret: it is not shown.
        raise UriError(
            field,
            None,
            "carries credentials before '@'",
            "remove them and use the AWS credential chain (environment, profile or role)",
        )
    _check_bucket(bucket, text, field)
    key = key.removesuffix("/")
    if key:
        _check_segments(key, text, field)
        _check_length(key, text, field)
    return Uri("s3", bucket, key, anonymous=bool(at))


def _check_bucket(bucket: str, text: str, field: str) -> None:
    if not bucket:
        raise UriError(field, text, "names no bucket", "write s3://bucket/prefix")
    if not _BUCKET.match(bucket) or ".." in bucket or _IP_ADDRESS.match(bucket):
        raise UriError(
            field,
            text,
            f"{bucket!r} is not a bucket name",
            "use 3 to 63 lower-case letters, digits, dots and hyphens",
        )


def _check_segments(key: str, text: str, field: str) -> None:
    segments = key.split("/")
    if "" in segments:
        raise UriError(field, text, "contains an empty segment ('//')", "write single slashes")
    if any(segment in (".", "..") for segment in segments):
        raise UriError(field, text, "contains '.' or '..'", "write the whole path")


def _check_length(key: str, text: str, field: str) -> None:
    length = len(key.encode())
    if length > MAX_KEY_BYTES:
        raise UriError(
            field, text, f"the key has {length} bytes", f"at most {MAX_KEY_BYTES} are allowed"
        )
