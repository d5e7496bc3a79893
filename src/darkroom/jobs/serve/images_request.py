"""A body of `POST /v1/images/generations`: every field of OpenAI's is honoured or refused by name.

Knows only the wire; drawings.py holds it against the models that are served. Docs:
docs/verbs/serve.md has the table of fields.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn

from pydantic import ConfigDict, Field, ValidationError

from darkroom.config import Config
from darkroom.jobs.drawing.picture_bytes import FileFormat
from darkroom.jobs.serve.api_error import ApiError, invalid, unknown
from darkroom.jobs.serve.config import RequestLimits

MAX_SEED = 2**63 - 1


class ImagesRequest(Config):
    """The wire's fields. What only OpenAI's own service can do is refused by _ONLY."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    prompt: str = ""
    model: str | None = None
    n: int = 1
    size: str = "auto"
    quality: str = "auto"
    response_format: str = "b64_json"
    output_format: str = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: str = "auto"
    moderation: str = "auto"
    style: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: dict[str, Any] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    user: str | None = None
    safety_identifier: str | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    index: Annotated[int, Field(ge=0, lt=2**31)] = 0
    steps: Annotated[int, Field(ge=1)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    negative_prompt: str | None = None
    sampler: str | None = None
    class_name: Annotated[str | None, Field(alias="class")] = None
    lora: str | None = None
    exact: bool = False

    @property
    def format(self) -> FileFormat:
        """The pictures' format, which `of` has checked."""
        return self.output_format  # type: ignore[return-value]


_ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "quality": (("auto",), "set steps, which decide it here"),
    "response_format": (("b64_json",), "the service keeps no pictures to link to"),
    "output_format": (("png", "webp", "jpeg"), "the others are not written"),
    "background": (("auto", "opaque"), "the models draw no transparency"),
    "moderation": (("auto",), "a model's own safety checker cannot be loosened"),
}
"""Field -> the values that are honoured, and why no others are."""
_NEVER = {
    "style": "say it in the prompt",
    "complexity": "set steps, which decide it here",
    "frame_count": "one picture is drawn, not an animation",
    "frame_duration_ms": "one picture is drawn, not an animation",
    "svg": "pictures are pixels",
}
"""Field -> why no value is."""


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Errors: ApiError 400."""
    try:
        values = json.loads(
            body.decode(), parse_constant=_no_number, object_pairs_hook=_without_twins
        )
    except (ValueError, RecursionError) as error:
        problem = "" if isinstance(error, RecursionError) else f" ({str(error)[:100]})"
        raise ApiError(400, f"the body is no JSON{problem}", code="invalid_json") from None
    if not isinstance(values, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return values


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A proxy that looks into bodies may read the first of two, where Python takes the last."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name[:40]!r} stands twice")
        values[name] = value
    return values


def parse_request(values: dict[str, Any], limits: RequestLimits) -> ImagesRequest:
    """The wire's fields, each in its bounds. Errors: ApiError 400 with param and code."""
    known = sorted(field.alias or name for name, field in ImagesRequest.model_fields.items())
    for name, value in values.items():
        _check_unicode(name, value)
        if name not in known:
            raise ApiError(
                400, unknown("parameter", name, known), code="unknown_parameter", param=name[:100]
            )
    # The official client's types allow null for what is left out.
    given = {name: value for name, value in values.items() if value is not None}
    try:
        request = ImagesRequest.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        param = str(fault["loc"][0]) if fault["loc"] else None
        code = "invalid_type" if fault["type"].endswith("_type") else "invalid_value"
        problem = fault["msg"][:1].lower() + fault["msg"][1:]
        raise invalid(param, problem, code=code) from None
    _check_words(request)
    _check_bounds(request, limits)
    return request


def _check_unicode(name: str, value: Any) -> None:
    """JSON can spell half a character, which no answer, record or tokenizer can."""
    problem = "is not valid Unicode (a lone surrogate)"
    if not _is_unicode(name):
        raise invalid(None, f"a parameter's name {problem}")
    if isinstance(value, str) and not _is_unicode(value):
        raise invalid(name[:100], problem)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_words(request: ImagesRequest) -> None:
    for field, (allowed, reason) in _ONLY.items():
        if (value := getattr(request, field)) not in allowed:
            shown = " or ".join(map(repr, allowed))
            problem = f"{value[:60]!r} is not supported ({reason}); use {shown}"
            raise invalid(field, problem, code="unsupported_value")
    for field, reason in _NEVER.items():
        if getattr(request, field) is not None:
            raise invalid(field, f"is not supported ({reason})", code="unsupported_parameter")
    if request.partial_images and not request.stream:
        raise invalid("partial_images", "needs stream: true")
    if request.output_compression not in (None, 100) and request.output_format == "png":
        raise invalid(
            "output_compression", "PNG is always lossless; choose output_format webp or jpeg"
        )


def _check_bounds(request: ImagesRequest, limits: RequestLimits) -> None:
    if not 1 <= request.n <= limits.max_images:
        raise invalid("n", f"must be from 1 to {limits.max_images}")
    if request.steps is not None and request.steps > limits.max_steps:
        raise invalid("steps", f"must be at most {limits.max_steps}")
    for field in ("prompt", "negative_prompt"):
        text = getattr(request, field) or ""
        if len(text) > limits.max_prompt_chars:
            problem = f"has {len(text)} characters; at most {limits.max_prompt_chars} are taken"
            raise invalid(field, problem, code="string_above_max_length")
