"""Manifests as kubectl reads them: YAML 1.1 by the rules of Kubernetes' own Go library, or JSON.

`0400` is 256, `yes` is true, `1.2096e+06` is the integer 1209600, a date is a text, `<<` merges.
So the API server gets from here what it gets from `kubectl apply`. Stricter in three things, each
refused with its line: duplicate keys, keys that are no text or number, numbers that JSON lacks.

Source: the scalar rules of go.yaml.in/yaml/v2 as used by sigs.k8s.io/yaml 1.6, which tests/charts
holds this to by asking kubectl.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from darkroom.errors import InputError

MAX_VALUES = 1_000_000
"""Of one document, aliases expanded: a few bytes of them could stand for terabytes."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_IN_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), 10),
)
_INTEGERS = range(-(2**63), 2**64)
_DIGITS = 100
"""More than any of them has; Python reads none with thousands."""
_WHOLE_FLOATS = 1e21
"""Below this, Go writes a whole float as a JSON integer."""

_BYTE_ORDER_MARKS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes, source: str) -> str:
    """The text of a manifest's bytes: UTF-8, or what its byte-order mark says.

    Errors: InputError that names the encoding and the line.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _fail(source, line, f"is not {encoding.upper()}", "save it as UTF-8")
    if "\0" in text:
        _fail(source, None, "holds NUL characters, as UTF-16 has without a byte-order mark",
              "save it as UTF-8")  # fmt: skip
    return text


def load_all(text: str, source: str) -> list[Any]:
    """The documents of a text as JSON values; empty ones are left out.

    Errors: InputError with the line.
    """
    found = _load_all(text, source)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        _fail(source, None, f"has {half}, half of a character", "write the character itself")
    return found


def _load_all(text: str, source: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        try:
            return list(_json_values(text, source))
        except (json.JSONDecodeError, RecursionError):  # YAML in braces
            pass
    try:
        reader = _Reader(YAML(typ="safe", pure=True).parse(text), source)
        return [document for document in reader.documents() if document is not None]
    except InputError:
        raise
    except (OverflowError, ValueError):  # of chr
        _fail(source, None, "is not YAML: it has an escape that is no character")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        _fail(source, mark.line + 1 if mark else None, f"is not YAML: {problem}")
    except (YAMLError, RecursionError) as error:
        reason = getattr(error, "reason", None) or "it is nested too deeply"
        _fail(source, None, f"is not YAML: {reason}")


def scalar(text: str) -> Any:
    """What an unquoted word means: null, a boolean, a number, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-":
        plain = text.replace("_", "")
        for pattern, base in _BASES:
            if len(plain) <= _DIGITS and pattern.fullmatch(plain):
                number = int(plain.lower().replace("o", "") if base == 8 else plain, base)
                if number in _INTEGERS:
                    return number
        return _float(plain) if _FLOAT.fullmatch(plain) else text
    return _float(text) if text[0] == "." and _FLOAT.fullmatch(text) else text


def _float(text: str) -> int | float | str:
    number = float(text)
    if math.isinf(number):  # Go has no such number either, and leaves the text
        return text
    return int(number) if number.is_integer() and abs(number) < _WHOLE_FLOATS else number


def _json_values(text: str, source: str) -> Iterator[Any]:
    """Objects one after the other. Errors: ValueError when it is no JSON."""
    number = partial(_json_number, source=source)
    decoder = json.JSONDecoder(
        object_pairs_hook=lambda pairs: _object(pairs, source),
        parse_int=number,
        parse_float=number,
        parse_constant=lambda word: _fail(source, None, f"holds {word}, which is no JSON"),
    )
    rest = text.lstrip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


def _json_number(text: str, source: str) -> Any:
    number = scalar(text)
    if isinstance(number, str):
        _fail(source, None, f"holds the number {text[:20]}, which is too large")
    return number


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        _fail(source, None, f"repeats the key {repeated!r}", "keep one of them")
    return values


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    size: int


class _Reader:
    """Builds JSON values from the parser's events."""

    def __init__(self, events: Iterator[Event], source: str) -> None:
        self._events = iter(events)
        self._source = source
        self._anchors: dict[str, _Anchored] = {}
        self._size = 0

    def documents(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                self._anchors, self._size = {}, 0
                yield self._value(next(self._events))

    def _value(self, event: Event) -> Any:
        before = self._size
        self._grow(event, 1)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = list(self._items())
        elif isinstance(event, MappingStartEvent):
            value = self._mapping()
        else:
            raise TypeError(type(event))
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, self._size - before)
        return value

    def _alias(self, event: AliasEvent) -> Any:
        found = self._anchors.get(event.anchor)
        if found is None:
            self._refuse(event, f"uses *{event.anchor}, which is not defined before it")
        self._grow(event, found.size)
        return found.value

    def _grow(self, event: Event, count: int) -> None:
        self._size += count
        if self._size > MAX_VALUES:
            self._refuse(event, f"has more than {MAX_VALUES:,} values, aliases expanded")

    def _items(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                return
            yield self._value(event)

    def _mapping(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        own: set[str] = set()
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            if isinstance(event, ScalarEvent) and event.value == "<<" and not event.style:
                values.update(self._merged(event))
                continue
            key = self._key(event)
            if key in own:
                self._refuse(event, f"repeats the key {key!r}", "keep one of them")
            own.add(key)
            values[key] = self._value(next(self._events))
        return values

    def _merged(self, event: Event) -> dict[str, Any]:
        found = self._value(next(self._events))
        sources = found if isinstance(found, list) else [found]
        if not all(isinstance(source, dict) for source in sources):
            self._refuse(event, "merges (<<) something that is no mapping")
        return {key: source[key] for source in reversed(sources) for key in source}

    def _key(self, event: Event) -> str:
        key = self._value(event)
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, (str, int)):
            return str(key)
        return self._refuse(event, "has a key that is no text", "quote it")

    def _scalar(self, event: ScalarEvent) -> Any:
        tag = str(event.ctag) if event.ctag else ""
        kind = tag.removeprefix("tag:yaml.org,2002:").removeprefix("!!")
        if kind == "binary":
            return self._binary(event)
        if kind in ("str", "!") or (event.style and not kind) or (kind and kind.startswith("!")):
            return event.value
        if _NOT_IN_JSON.fullmatch(event.value):
            self._refuse(event, f"has the value {event.value}, which JSON lacks", "quote it")
        return scalar(event.value)

    def _binary(self, event: ScalarEvent) -> str:
        try:
            return base64.b64decode("".join(event.value.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return self._refuse(event, "has a !!binary that is no base64 of a text")

    def _refuse(self, event: Event, problem: str, remedy: str = "") -> NoReturn:
        _fail(self._source, event.start_mark.line + 1, problem, remedy)


def _fail(source: str, line: int | None, problem: str, remedy: str = "") -> NoReturn:
    where = source if line is None else f"{source}:{line}"
    raise InputError("manifest", where, problem, remedy) from None
