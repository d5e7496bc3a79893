"""What a published output says of itself: its files, their digests, and where it came from.

Pure values and their JSON form; reading and writing them is left to `artifact.py` and
`publish.py`. The digest of a manifest covers the digests of its files and of its parents, so
it names the whole upstream, and the one run that made it. The content digest covers the files'
names and bytes alone: what is made again, elsewhere or later, has the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache, cached_property
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from darkroom.errors import DataError, IntegrityError
from darkroom.messages import quoted
from darkroom.storage.names import CONTROL, check_name

T = TypeVar("T")

VERSION = 1
MANIFEST_KEY = "manifest.json"
ATTEMPTS_PREFIX = "attempts/"
CHECKPOINTS_PREFIX = "checkpoints/"
LIVE_PREFIX = "live/"  # what a running job shows meanwhile; never read back
GOODPUT_PREFIX = "goodput/"  # where a running job's time went, by driver
JOURNAL_PREFIX = "journal/"  # what a study has suggested and seen, entry by entry
TRIALS_PREFIX = "trials/"  # the runs of a study, each an output of its own
CONFIRMED_PREFIX = "confirmed/"  # likewise, with further seeds
MEASURED_PREFIX = "measured/"  # pictures and figures of a study's runs, likewise
DRAWN_PREFIX = "drawn/"  # pictures that an evaluation of a model drew, likewise
POINTER_KEY = "latest.json"


def utc_now() -> str:
    """The time as an ISO 8601 string with second precision."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact. `name` is what readers ask for, `key` where its bytes lie."""

    name: str
    key: str
    size: int
    sha256: str
    rows: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    content: bool = True
    """False for what tells of the run that made it (times, places): not in the content digest."""


@dataclass(frozen=True, slots=True)
class Parent:
    """Something an artifact was made from. `role`: data, model, reference, checkpoint, source.

    `digest` is the parent's manifest digest; for a `source` outside Darkroom, any digest of it.
    """

    role: str
    uri: str
    digest: str
    kind: str
    published: bool | None = False
    """Whether it is an artifact, which has a manifest and can be verified. None: not recorded."""


@dataclass(frozen=True)
class Manifest:
    """The published description of an output. Its digests are computed once: files may be many."""

    kind: str
    attempt: str
    files: tuple[FileEntry, ...]
    rows: int | None
    metadata: dict[str, Any]
    config: dict[str, Any]
    config_digest: str
    code_digest: str
    parents: tuple[Parent, ...]
    created_at: str = field(default_factory=utc_now)
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = _values(self)
        values["files"] = [_values(file) for file in self.files]
        values["parents"] = [_values(parent) for parent in self.parents]
        plain: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
        plain["content_digest"] = self.content_digest
        for parent in plain["parents"]:
            if parent["published"] is None:
                del parent["published"]  # or the digest would not be what the children recorded
        return plain

    def to_json(self) -> bytes:
        """The bytes that are published: sorted, a line for each file, for people too."""
        return sealed_json(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON form."""
        return digest_of_json(self.to_dict())

    @cached_property
    def content_digest(self) -> str:
        """sha256 (hex) of the content files' names, sizes and sha256: equal bytes, equal name."""
        content = (file for file in self.files if file.content)
        return digest_of_files((file.name, file.size, file.sha256) for file in content)


def parse_manifest(data: bytes, *, uri: str) -> Manifest:
    """Read published bytes.

    Errors: IntegrityError when they are no manifest, DataError for another version or for a file
    whose name or key leads elsewhere: the seal only tells of accidents, anybody can make one.
    """
    values = decode_json(data, uri=uri, what="manifest")
    try:
        version = values["version"]
        if version != VERSION:
            raise unknown_version(uri, version, VERSION)
        check_seal(values, uri=uri)
        known = {item.name: values[item.name] for item in fields(Manifest)}
        known["files"] = parse_files(values["files"], where=uri)
        known["parents"] = parse_parents(values["parents"])
        manifest = typed(Manifest, known)
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{uri} is no manifest of ours ({error}); publish it again") from None
    if _holds_all(values, manifest):
        manifest.__dict__["digest"] = values["seal"]
    return manifest


def _holds_all(values: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether the document has each field of this version and no other, as `to_dict` gives them.

    Then the digest that it is sealed with, and that was just found right, is the manifest's.
    """
    wanted = {*_names(Manifest), "content_digest", "seal"}
    return (
        values.keys() == wanted
        and values["content_digest"] == manifest.content_digest
        and all(len(entry) == len(_names(FileEntry)) for entry in values["files"])
        and not any(None in parent.values() for parent in values["parents"])
    )


def parse_files(entries: Iterable[Mapping[str, Any]], *, where: str) -> tuple[FileEntry, ...]:
    """Files as JSON holds them, each named once by names that are fit to be files'.

    Errors: DataError, and TypeError for fields that are not ours.
    """
    files = tuple(typed(FileEntry, entry) for entry in entries)
    names: set[str] = set()
    for file in files:
        if check_name(file.name, where=where) in names:
            raise DataError(where, file.name, "is the name of two files", "publish it again")
        names.add(file.name)
        check_name(file.key, where=where)
    return files


def parse_parents(parents: Iterable[Mapping[str, Any]]) -> tuple[Parent, ...]:
    """Parents as JSON holds them. Errors: TypeError for fields that are not ours."""
    return tuple(typed(Parent, {"published": None, **parent}) for parent in parents)


def typed(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """A dataclass of JSON values. Errors: TypeError for a value of another type than its field.

    Numbers here are counts, and texts are shown on terminals, which obey control characters.
    """
    made = kind(**values)
    for name, wanted in _types(kind):
        value = getattr(made, name)
        is_fit = isinstance(value, wanted) and not (isinstance(value, bool) and bool not in wanted)
        if isinstance(value, str):
            is_fit = is_fit and CONTROL.search(value) is None
        if isinstance(value, int):
            is_fit = is_fit and value >= 0
        if not is_fit:
            raise TypeError(f"{name} cannot be {quoted(value)}")
    return made


@cache
def _names(kind: Callable[..., Any]) -> tuple[str, ...]:
    """The fields of a dataclass."""
    return tuple(item.name for item in fields(cast("Any", kind)))


def _values(value: Any) -> dict[str, Any]:
    """A dataclass as a dict; `asdict` would also copy all that is in it, piece by piece."""
    kind: Callable[..., Any] = type(value)
    return {name: getattr(value, name) for name in _names(kind)}


@cache
def _types(kind: Callable[..., Any]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """The types of each field."""
    hints = get_type_hints(kind).items()
    unions = ((n, get_args(hint) if isinstance(hint, UnionType) else (hint,)) for n, hint in hints)
    return tuple((name, tuple(get_origin(one) or one for one in union)) for name, union in unions)


def unknown_version(uri: str, found: object, known: int) -> DataError:
    """The error for a document of another schema version."""
    return DataError(
        "version", found, f"{uri} has another schema version than {known}", "use the newer Darkroom"
    )


def digest_of_json(values: Mapping[str, Any]) -> str:
    """sha256 (hex) of the canonical JSON form."""
    from darkroom.config import json_digest  # pydantic, which reading a URI does not need

    return json_digest(values)


def digest_of_files(files: Iterable[tuple[str, int, str]]) -> str:
    """sha256 (hex) that names files by their names, sizes and sha256, in whatever order."""
    return digest_of_json({"files": sorted(map(list, files))})


def sealed_json(values: Mapping[str, Any]) -> bytes:
    """JSON that carries its own digest: a bit that flips on the way to a reader is noticed."""
    return encode_json({**values, "seal": digest_of_json(values)})


def check_seal(values: dict[str, Any], *, uri: str) -> None:
    """Compare with the digest that `sealed_json` gave. Errors: IntegrityError."""
    plain = {name: value for name, value in values.items() if name != "seal"}
    if values.get("seal") != digest_of_json(plain):
        raise IntegrityError(f"{uri} is not what was written: its seal does not fit")


def read_twice(read: Callable[[], T]) -> T:
    """What `read` returns; tried again where the bytes came damaged, perhaps only on the way."""
    try:
        return read()
    except IntegrityError:
        return read()


def encode_json(values: Mapping[str, Any]) -> bytes:
    """JSON for people and machines: sorted, indented, one trailing newline, no NaN.

    What is in a list of objects, such as a file of many, has one line: indenting is Python's own
    work, where the rest is compiled.
    """
    if not values:
        return b"{}\n"
    members = (f" {json.dumps(name)}: {_indented(values[name])}" for name in sorted(values))
    return ("{\n" + ",\n".join(members) + "\n}\n").encode()


def _indented(value: Any) -> str:
    if isinstance(value, list | tuple) and value and all(isinstance(one, dict) for one in value):
        lines = (json.dumps(one, sort_keys=True, allow_nan=False) for one in value)
        return "[\n  " + ",\n  ".join(lines) + "\n ]"
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    return text.replace("\n", "\n ")  # within JSON's strings there are no line ends


def decode_json(data: bytes, *, uri: str, what: str) -> dict[str, Any]:
    """A JSON object. Errors: IntegrityError."""
    try:
        values = json.loads(data)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise IntegrityError(f"{uri} is not a JSON {what}; it was damaged or is not ours")
    return values
