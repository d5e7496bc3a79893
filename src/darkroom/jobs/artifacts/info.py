"""What an artifact says of itself: one typed, versioned value per kind, in its manifest.

A verb writes its kind's value with `to_metadata`, every other verb reads it with `of`. A value
that does not fit is refused in one line. Nothing else in `jobs` reads a manifest's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from darkroom.errors import DataError
from darkroom.jobs.artifacts.kind import Kind
from darkroom.messages import quoted
from darkroom.storage import Artifact

T = TypeVar("T")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Info:
    """The base of every kind's value."""

    kind: ClassVar[Kind]
    verb: ClassVar[str]
    """The verb that publishes the kind."""
    version: ClassVar[int] = 1
    """Raised when fields change their meaning."""

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """What `artifact` says of itself.

        Errors: DataError naming `field` for another kind, another version or a value that does
        not fit.
        """
        manifest, where = artifact.manifest, str(artifact.uri)
        if manifest.kind != cls.kind:
            raise DataError(
                field,
                f"{artifact.uri}",
                f"holds a {manifest.kind}",
                f"give the URI of a {cls.kind}",
            )
        values = dict(manifest.metadata)
        version = values.pop("version", None)
        if version != cls.version:
            raise DataError(
                field, where,
                f"is a {cls.kind} of version {version}, and version {cls.version} is read here",
                f"publish it again with this Darkroom's `darkroom {cls.verb}`",
            )  # fmt: skip
        return read_values(
            cls, values, what=f"is a {cls.kind}", where=where, field=field,
            remedy=f"publish it with `darkroom {cls.verb}`",
        )  # fmt: skip

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON values for the manifest."""
        return {"version": self.version, **plain_values(self)}


def names_of(artifact: Artifact) -> dict[str, Any]:
    """What every verb's result begins with: where the output is, and its two digests."""
    return {
        "output": str(artifact.uri),
        "digest": artifact.digest,
        "content_digest": artifact.content_digest,
    }


def read_values(
    wanted: type[T], values: Mapping[str, Any], *, what: str, where: str, field: str, remedy: str
) -> T:
    """A dataclass of JSON values. Errors: DataError naming the first value that does not fit."""
    try:
        return typed_values(wanted, values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f" ({quoted(first['input'])})"
        problem = f"{what} whose {name} does not fit: {first['msg'].lower()}{found}"
        raise DataError(field, where, problem, remedy) from None


def typed_values(wanted: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of JSON values that are our own."""
    made: T = _adapter(wanted).validate_json(json.dumps(values), strict=True)
    return made


def plain_values(value: object) -> dict[str, Any]:
    """Such a dataclass as JSON values."""
    values: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return values


def _adapter(wanted: Any) -> TypeAdapter[Any]:
    if wanted not in _ADAPTERS:
        wanted.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
        _ADAPTERS[wanted] = TypeAdapter(wanted)
    return _ADAPTERS[wanted]
