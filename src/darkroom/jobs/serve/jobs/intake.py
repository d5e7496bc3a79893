"""`POST /v1/jobs`: from a body to a job that is there, once for each Idempotency-Key.

The body is that of `/v1/images/generations`, read by the same code, less what belongs to an answer
that one waits for.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from darkroom.config import json_digest
from darkroom.errors import ObjectNotFoundError, PreconditionFailedError, StorageError
from darkroom.jobs.serve.api_error import ApiError, invalid
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawings import drawings_of
from darkroom.jobs.serve.images_request import ImagesRequest, parse_request
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.records import AskedJob, new_job_id, owner_segment
from darkroom.jobs.serve.request import ServedModel
from darkroom.storage.manifest import decode_json, encode_json

IDEMPOTENCY_HEADER = "Idempotency-Key"
MAX_KEY_CHARS = 255
_MAX_MOVES = 20
_NOT_KEPT = frozenset({"user", "safety_identifier"})
"""They name a person, and nothing is drawn by them."""


def parse_job(values: Mapping[str, Any], config: ServeConfig) -> ImagesRequest:
    """The wire's fields. Errors: ApiError 400 with param and code."""
    if values.get("stream"):
        raise invalid(
            "stream", "a job is not waited for; leave it out, and ask for the job's state",
            code="unsupported_parameter",
        )  # fmt: skip
    if values.get("response_format") not in (None, "url"):
        raise invalid(
            "response_format", "a job's pictures have addresses; leave it out, or use 'url'",
            code="unsupported_value",
        )  # fmt: skip
    rest = {name: value for name, value in values.items() if name != "response_format"}
    return parse_request(
        rest, config.limits.model_copy(update={"max_images": config.jobs.max_images})
    )


def new_job(
    values: Mapping[str, Any],
    models: tuple[ServedModel, ...],
    config: ServeConfig,
    *,
    owner: str,
    idempotency: str | None,
) -> AskedJob:
    """What is asked, held against the models. idempotency: the header's value. Errors: ApiError."""
    request = parse_job(values, config)
    drawings = drawings_of(request, models, config.limits)
    return AskedJob(
        id=new_job_id(),
        owner=owner,
        created_at=int(time.time()),
        request={
            name: value
            for name, value in values.items()
            if value is not None and name not in _NOT_KEPT
        },
        first=drawings.requests[0],
        num_pictures=len(drawings.requests),
        output_format=request.format,
        output_compression=request.output_compression,
        prompt_digest=drawings.prompt_digest,
        attempt=uuid.uuid4().hex,
        idempotency=None if idempotency is None else _key_digest(idempotency),
    )


def _key_digest(key: str) -> str:
    """Errors: ApiError 400 for what is no key."""
    if not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise invalid(IDEMPOTENCY_HEADER, f"must be 1 to {MAX_KEY_CHARS} printable characters")
    return hashlib.sha256(key.encode()).hexdigest()


def admit(place: JobsPlace, asked: AskedJob, *, most_open: int) -> tuple[AskedJob, bool]:
    """Make the job; the one that counts, and whether it is new. Blocks.

    The object of an Idempotency-Key is written first and names the job. So a crash before the job
    is there is healed by the next request with that key, which makes it under the same id.
    Errors: ApiError 422 for a key that came with another body, 429 where `most_open` jobs have not
    ended.
    """
    if asked.idempotency is None:
        _check_open(place, asked, most_open)
        return place.write(asked)
    key = place.idempotency_key(asked.owner, asked.idempotency)
    body = json_digest(asked.request)
    for number in range(_MAX_MOVES):
        note, etag = _note(place, key)
        job_id = asked.id if note is None else str(note.get("job"))
        if note is not None:
            if note.get("body") != body:
                raise ApiError(
                    422, "this Idempotency-Key came with another body before; use a new one",
                    code="idempotency_key_reused", param=IDEMPOTENCY_HEADER,
                )  # fmt: skip
            there = place.asked(asked.owner, job_id)
            if there is not None:
                return there, False
        _check_open(place, asked, most_open)
        # It moves, so that a key that is being removed with its job is not relied on.
        wanted = encode_json({"job": job_id, "body": body, "moved": f"{asked.id}/{number}"})
        try:
            place.store.put(key, wanted, if_none_match=etag is None, if_match=etag)
        except PreconditionFailedError:
            continue
        return place.write(replace(asked, id=job_id))
    raise StorageError(f"{place.root / key} changes all the time; who writes there?")


def _note(place: JobsPlace, key: str) -> tuple[dict[str, Any] | None, str | None]:
    """What a key's object says, and its version."""
    try:
        data, etag = place.store.get_with_etag(key)
    except ObjectNotFoundError:
        return None, None
    return decode_json(data, uri=str(place.root / key), what="note"), etag


def _check_open(place: JobsPlace, asked: AskedJob, most: int) -> None:
    """About: of two that come at once, both may be let in."""
    segment = owner_segment(asked.owner)
    if sum(entry.owner == segment for entry in place.open_jobs()) >= most:
        raise ApiError(
            429, f"this key has {most} jobs that have not ended, its limit",
            code="job_limit_exceeded", retry_after=30,
        )  # fmt: skip
