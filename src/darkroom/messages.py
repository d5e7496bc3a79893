"""What a message may hold: no secret, and no more than a person reads.

The one filter before everything that people see. Errors of ours are worded through it when they
are made (`errors.py`), so whatever shows, logs, pickles or publishes one is safe; what shows
other text (standard error, dead letters, kept logs) calls it itself.

Secrets are known in three ways: the environment's variables by their names, the files that such
variables name, and what `hide` was told of (storage: what the credential chain gave). Beside
these, what has the look of a secret is masked wherever it came from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

HIDDEN = "***"
MAX_MESSAGE = 1500
MAX_VALUE = 120
_CUT = 40
"""Room for the words that tell of a cut."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|AUTHORIZATION"
    r"|(?:ACCESS|SECRET|API|PRIVATE|ACCOUNT)_?KEY)$",
    re.IGNORECASE,
)
_KEY_ID_NAME = re.compile(r"(?:^|_)KEY_ID$", re.IGNORECASE)
_FILE_NAME = re.compile(r"(?:^|_)TOKEN_(?:FILE|PATH)$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^\s/@:]*:(\S+)@")
_MAX_SECRET_FILE = 64 * 1024

_SHORT = 8
"""A shorter secret is masked as a whole word only, and not at all if it is an everyday word."""
_HEAD = 12
"""So much of a long secret is enough: others may have cut it."""
_NAME = re.compile(r"[a-z][a-z-]*")

_SIGN = r"(?:\s*=\s*|\\*[\"']\s*:\s*)(?:b?\\*[\"'])?"
"""name=value and 'name': 'value'. "NAME: problem" is how messages of our own begin."""
_HEADER = r"\\*[\"']?\s*[:=]\s*(?:b?\\*[\"'])?"
_VALUE = r"[^\s\\\"'&,;}]+"
_LOOKS = tuple(
    re.compile(look, re.IGNORECASE)
    for look in (
        r"(\b[a-z][a-z0-9+.-]*://)(?!anonymous@)[^\s/'\"<>]+(?=@)",
        rf"(authorization{_HEADER}(?:(?:bearer|basic|aws4-hmac-sha256)\s+)?){_VALUE}",
        rf"(x-amz-security-token{_HEADER}){_VALUE}",
        rf"(\b(?:x-amz-)?(?:signature|credential){_SIGN}){_VALUE}",
        rf"((?:access|secret)_?(?:access_?)?key(?:_?id)?{_SIGN}){_VALUE}",
        rf"((?:session|security|access|id|refresh|auth|identity|hf)_?token{_SIGN}){_VALUE}",
        rf"((?:client_?secret|api_?key|passw(?:or)?d){_SIGN}){_VALUE}",
        r"(<(?:\w*accesskey\w*|signatureprovided|stringtosign|canonicalrequest|sessiontoken)>)[^<\"]+",
        r"(\bbearer\s+)[\w.~+/=-]{16,}",
        r"()(?:\b|(?<=\\n))(?-i:A(?:KIA|SIA|ROA|IDA)[A-Z0-9]{12,})\b",
        r"()(?:\b|(?<=\\n))eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",  # a web identity token
        r"()(?:\b|(?<=\\n))hf_[a-z0-9]{16,}\b",
    )
)
"""What looks like a secret; the first group stays."""

_told: set[str] = set()
_files: dict[str, tuple[int, str]] = {}


def hide(*secrets: str | None) -> None:
    """From now on no message shows these, nor a part that tells them."""
    _told.update(secret for secret in secrets if secret)


def masked(text: str) -> str:
    """The text without secrets; its length and its lines stay."""
    known = _pattern(frozenset(_known()))
    if known is not None:
        text = known.sub(HIDDEN, text)
    for look in _LOOKS:
        text = look.sub(rf"\1{HIDDEN}", text)
    return text


def message(text: object, limit: int = MAX_MESSAGE) -> str:
    """The text without secrets, and bounded."""
    return _bounded(masked(str(text)), limit)


def one_line(text: object, limit: int = MAX_MESSAGE) -> str:
    """The same on one line."""
    return _bounded(" ".join(masked(str(text)).split()), limit)


def first_line(error: BaseException) -> str:
    """What a foreign exception says first, or its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def quoted(value: object) -> str:
    """A value as messages quote it."""
    return _bounded(masked(repr(value)), MAX_VALUE + _CUT, keep=MAX_VALUE)


def _bounded(text: str, limit: int, *, keep: int | None = None) -> str:
    """Bounding a bounded text changes nothing."""
    if len(text) <= limit:
        return text
    return f"{text[: keep or limit - _CUT]}... ({len(text)} characters)"


def _known() -> Iterator[str]:
    """Every text that must not appear."""
    yield from _told
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            yield value
        elif _KEY_ID_NAME.search(name):
            # A short one is a name that a person chose, as a bucket's may be.
            if not _NAME.fullmatch(value):
                yield value
        elif _FILE_NAME.search(name):
            yield _contents(value)
        elif "@" in value and (password := _PASSWORD.search(value)):
            yield password[1]


def _contents(path: str) -> str:
    """What a file of a secret holds now."""
    try:
        changed = Path(path).stat().st_mtime_ns
        if _files.get(path, (0, ""))[0] != changed:
            with Path(path).open(errors="replace") as file:
                _files[path] = (changed, file.read(_MAX_SECRET_FILE))
    except (OSError, ValueError):
        return ""
    return _files[path][1]


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Any of the secrets, in any form that a message gives them."""
    forms = {form for secret in secrets for form in _forms(secret)}
    return re.compile("|".join(sorted(forms, key=len, reverse=True))) if forms else None


def _forms(secret: str) -> Iterator[str]:
    for part in {secret, secret.strip(), *re.split(r"[\s\x00-\x1f\x7f]+", secret)}:
        if len(part) < _SHORT:
            if part.strip() and len(part) > _SHORT // 2 and not _NAME.fullmatch(part):
                yield rf"(?<!\w){re.escape(part)}(?!\w)"
            continue
        spellings = {
            part, quote(part), quote(part, safe=""), quote_plus(part),
            repr(part)[1:-1], ascii(part)[1:-1], json.dumps(part)[1:-1],
            repr(part.encode("utf-8", "surrogateescape"))[2:-1],
        }  # fmt: skip
        for spelling in spellings:
            yield re.escape(spelling)
            if len(spelling) >= 2 * _HEAD:
                yield re.escape(spelling[:_HEAD]) + r"[^\s\\'\"<>,;&]*"


def with_article(noun: str) -> str:
    """As in "a model" and "an evaluation"; samples and pictures are several."""
    if noun.endswith("s"):
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
