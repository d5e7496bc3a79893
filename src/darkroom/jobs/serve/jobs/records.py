"""What is stored of a job, each a sealed JSON object that is written once: asked, ended.

Knows no store; `place.py` says where these lie.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from darkroom.errors import IntegrityError
from darkroom.jobs.artifacts.info import plain_values, typed_values
from darkroom.jobs.drawing.picture_bytes import FileFormat
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.request import DrawRequest
from darkroom.storage.manifest import check_seal, decode_json, sealed_json

JOB_ID = re.compile(r"job_[0-9a-f]{32}")
_PLAIN_OWNER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
VERSION = 1

T = TypeVar("T")
EndState = Literal["completed", "failed", "cancelled"]


def new_job_id() -> str:
    """Ids sort by the time at which they were made, to the millisecond."""
    return f"job_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def made_at(job_id: str) -> float:
    """Seconds since 1970, by the clock of whoever made the id."""
    return int(job_id.removeprefix("job_")[:12], 16) / 1000


def owner_segment(name: str) -> str:
    """A key's name as a folder's: itself where any store holds it apart from others, or a digest.

    Without dots, and no digest is a plain name.
    """
    if _PLAIN_OWNER.fullmatch(name):
        return name
    return "~" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class AskedJob:
    """What was asked, with all that its pictures depend on: settings that change change none."""

    id: str
    owner: str
    """The name of the key."""
    created_at: int
    """Seconds since 1970."""
    request: Mapping[str, Any]
    """The body as it was given, less what is not kept."""
    first: DrawRequest
    """The first picture; number i of the job is number `first.index + i` of its seed."""
    num_pictures: int
    output_format: FileFormat
    output_compression: int | None
    prompt_digest: str
    attempt: str
    """Names the folder of its records and files."""
    idempotency: str | None
    """Digest of the Idempotency-Key, where there was one."""

    def drawing(self, number: int) -> DrawRequest:
        """What to draw as picture `number`, from 0."""
        return replace(self.first, index=self.first.index + number)


@dataclass(frozen=True, kw_only=True)
class PictureFault:
    """Why there is no picture: the fields of an ApiError."""

    status: int
    message: str
    code: str
    param: str | None = None

    @classmethod
    def of(cls, error: ApiError) -> PictureFault:
        return cls(status=error.status, message=str(error), code=error.code, param=error.param)

    def as_error(self) -> ApiError:
        """As a client is told. It is final: a retry would get it again."""
        return ApiError(
            self.status, self.message, code=self.code, param=self.param, should_retry=False
        )


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How a job ended. What is not named here is not in it."""

    state: EndState
    ended_at: int
    """Seconds since 1970."""
    expires_at: int
    """When it is removed."""
    done: tuple[int, ...]
    """Numbers of its pictures, in order."""
    faults: Mapping[str, PictureFault]
    """Number (JSON's names are texts) -> why that picture could not be drawn."""
    digest: str | None = None
    """Of the artifact's manifest; None where nothing was published."""
    fault: PictureFault | None = None
    """Why the job was given up, where it was not for a picture."""


def to_bytes(value: object) -> bytes:
    """The sealed JSON of a dataclass."""
    return sealed_json({"version": VERSION, **plain_values(value)})


def from_bytes(wanted: type[T], data: bytes, *, uri: str) -> T:
    """Errors: IntegrityError for what `to_bytes` has not written."""
    values = decode_json(data, uri=uri, what="record of a job")
    check_seal(values, uri=uri)
    del values["seal"]
    if values.pop("version", None) != VERSION:
        raise IntegrityError(f"{uri} has another version than {VERSION}")
    try:
        return typed_values(wanted, values)
    except ValidationError:
        raise IntegrityError(f"{uri} is no record of a job of ours") from None
