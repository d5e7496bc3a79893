"""A body of `POST /v1/images/generations`: every field of OpenAI's is honoured or refused by name.

Parsed in two steps: `parse_json` and `ImagesRequest` know only the wire, `drawings_of` holds it
against the models that are served. Docs: docs/verbs/serve.md has the table of fields.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn

from pydantic import ConfigDict, Field, ValidationError

from darkroom.config import Config
from darkroom.jobs.drawing.picture_bytes import FileFormat, prompt_digest
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.serve.api_error import ApiError, invalid, unknown
from darkroom.jobs.serve.config import RequestLimits
from darkroom.jobs.serve.request import DrawRequest, ServedModel, ServedSampler

MAX_SEED = 2**63 - 1
_SIZE = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_NEW_SEEDS = 2**32
"""Seeds that the service draws itself are short enough to be typed, and exact in JavaScript."""


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


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Errors: ApiError 400."""
    try:
        values = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        problem = "" if isinstance(error, RecursionError) else f" ({str(error)[:100]})"
        raise ApiError(400, f"the body is no JSON{problem}", code="invalid_json") from None
    if not isinstance(values, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return values


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def parse_request(values: dict[str, Any], limits: RequestLimits) -> ImagesRequest:
    """The wire's fields, each in its bounds. Errors: ApiError 400 with param and code."""
    known = sorted(field.alias or name for name, field in ImagesRequest.model_fields.items())
    for name in values:
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


def _check_words(request: ImagesRequest) -> None:
    for field, (allowed, reason) in _ONLY.items():
        if (value := getattr(request, field)) not in allowed:
            shown = " or ".join(map(repr, allowed))
            problem = f"{value[:60]!r} is not supported ({reason}); use {shown}"
            raise invalid(field, problem, code="unsupported_value")
    if request.style is not None:
        raise invalid(
            "style", "is not supported; say it in the prompt", code="unsupported_parameter"
        )
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
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise invalid(field, "is not valid Unicode (a lone surrogate)")


@dataclass(frozen=True)
class Drawings:
    """What a request comes to: one drawing for each picture, and what to say of them."""

    model: ServedModel
    requests: tuple[DrawRequest, ...]
    prompt_digest: str

    @property
    def work(self) -> float:
        """Megapixel-steps."""
        return sum(each.num_steps * each.width * each.height / 1e6 for each in self.requests)


def drawings_of(
    request: ImagesRequest, models: tuple[ServedModel, ...], limits: RequestLimits
) -> Drawings:
    """Picture i of n is number `index + i` of its seed, as in `darkroom sample --seed`; so seed and
    index, which are told of it, draw it again alone.

    Errors: ApiError for a model, class, LoRA, size or sampler that is not there.
    """
    model = _model(request, models)
    label, prompt = _subject(request, model)
    width, height = _size(request, model, limits)
    seed = secrets.randbelow(_NEW_SEEDS) if request.seed is None else request.seed
    first = DrawRequest(
        model=model.name,
        seed=seed,
        index=request.index,
        num_steps=_steps(request, model),
        guidance=_guidance(request, model),
        sampler=_sampler(request, model),
        width=width,
        height=height,
        label=label,
        prompt=prompt,
        negative_prompt=_negative_prompt(request, model),
        lora=_lora(request, model),
        exact=request.exact,
        num_previews=request.partial_images,
        timeout_seconds=limits.deadline_seconds,
    )
    draws = tuple(replace(first, index=request.index + number) for number in range(request.n))
    return Drawings(model, draws, prompt_digest(prompt if label is None else label))


def _model(request: ImagesRequest, models: tuple[ServedModel, ...]) -> ServedModel:
    if request.model is None:
        return models[0]
    for model in models:
        if model.name == request.model:
            return model
    names = [model.name for model in models]
    raise ApiError(
        404, unknown("model", request.model, names), code="model_not_found", param="model"
    )


def _subject(request: ImagesRequest, model: ServedModel) -> tuple[str | None, str | None]:
    """The class, or the prompt."""
    if model.kind == "prompt":
        if request.class_name is not None:
            raise invalid("class", f"{model.name} draws prompts; leave class out")
        if not request.prompt.strip():
            raise invalid("prompt", "is required", code="missing_required_parameter")
        return None, request.prompt
    if not model.classes:  # it was trained without any
        if request.class_name is not None:
            raise invalid("class", f"{model.name} was trained without classes; leave class out")
        return None, None
    names = {nfc(name): name for name in model.classes}
    field, given = "class", request.class_name
    if given is None:
        field, given = "prompt", request.prompt.strip()
    if not given:
        raise invalid(
            "class", f"{model.name} draws classes; name one", code="missing_required_parameter"
        )
    if nfc(given) not in names:
        raise invalid(field, unknown("class", given, list(model.classes)), code="unknown_class")
    if request.prompt.strip() and nfc(request.prompt.strip()) != nfc(given):
        raise invalid(
            "prompt", "the model draws classes and reads no prompt; leave it empty, or name the "
            "same class as in class",
        )  # fmt: skip
    return names[nfc(given)], None


def _size(request: ImagesRequest, model: ServedModel, limits: RequestLimits) -> tuple[int, int]:
    if request.size == "auto":
        return model.width, model.height
    match = _SIZE.fullmatch(request.size)
    if match is None:
        raise invalid("size", f"{request.size[:30]!r} is not WIDTHxHEIGHT or auto")
    width, height = int(match[1]), int(match[2])
    if (width, height) == (model.width, model.height):
        return width, height
    if model.min_side == model.max_side:
        raise invalid("size", f"{model.name} draws {model.width}x{model.height} only")
    if width % model.side_multiple or height % model.side_multiple:
        raise invalid("size", f"width and height must be multiples of {model.side_multiple}")
    largest = min(model.max_side, limits.max_side)
    if not model.min_side <= min(width, height) <= max(width, height) <= largest:
        raise invalid("size", f"sides must be from {model.min_side} to {largest} pixels")
    if width * height > limits.max_pixels:
        raise invalid("size", f"at most {limits.max_pixels} pixels are drawn")
    return width, height


def _steps(request: ImagesRequest, model: ServedModel) -> int:
    if request.steps is None:
        return model.defaults.num_steps
    if request.steps > model.max_steps:
        raise invalid("steps", f"{model.name} has at most {model.max_steps}")
    return request.steps


def _guidance(request: ImagesRequest, model: ServedModel) -> float:
    if request.guidance_scale is None:
        return model.defaults.guidance
    if request.guidance_scale != 1 and not model.guidable:
        raise invalid("guidance_scale", f"{model.name} cannot be guided; leave it at 1")
    return request.guidance_scale


def _negative_prompt(request: ImagesRequest, model: ServedModel) -> str | None:
    if request.negative_prompt is not None and model.kind == "class":
        raise invalid("negative_prompt", "the model draws classes and takes none")
    return request.negative_prompt


def _sampler(request: ImagesRequest, model: ServedModel) -> ServedSampler:
    if request.sampler is None:
        return model.defaults.sampler
    for sampler in model.samplers:
        if sampler == request.sampler:
            return sampler
    raise invalid("sampler", unknown("sampler", request.sampler, list(model.samplers)))


def _lora(request: ImagesRequest, model: ServedModel) -> str | None:
    if request.lora is not None and request.lora not in model.loras:
        raise invalid("lora", unknown("LoRA", request.lora, list(model.loras)), code="unknown_lora")
    return request.lora
