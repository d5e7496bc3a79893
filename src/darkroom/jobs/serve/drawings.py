"""What a request comes to: its drawings, held against the models that are served."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass, replace

from darkroom.jobs.drawing.picture_bytes import prompt_digest
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.serve.api_error import ApiError, invalid, unknown
from darkroom.jobs.serve.config import RequestLimits
from darkroom.jobs.serve.images_request import ImagesRequest
from darkroom.jobs.serve.request import DrawRequest, ServedModel, ServedSampler

_SIZE = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_NEW_SEEDS = 2**32
"""Seeds that the service draws itself are short enough to be typed, and exact in JavaScript."""


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
    model = within(_model(request, models), limits)
    label, prompt = _subject(request, model)
    width, height = _size(request, model, limits)
    seed = secrets.randbelow(_NEW_SEEDS) if request.seed is None else request.seed
    guidance = _guidance(request, model)
    first = DrawRequest(
        model=model.name,
        seed=seed,
        index=request.index,
        num_steps=_steps(request, model),
        guidance=guidance,
        sampler=_sampler(request, model),
        width=width,
        height=height,
        label=label,
        prompt=prompt,
        negative_prompt=_negative_prompt(request, model, guidance),
        lora=_lora(request, model),
        exact=request.exact,
        num_previews=request.partial_images,
        timeout_seconds=limits.deadline_seconds,
    )
    draws = tuple(replace(first, index=request.index + number) for number in range(request.n))
    return Drawings(model, draws, prompt_digest(prompt if label is None else label))


def within(model: ServedModel, limits: RequestLimits) -> ServedModel:
    """The model with no more steps than the service takes, by default as well."""
    most = min(model.max_steps, limits.max_steps)
    steps = min(model.defaults.num_steps, most)
    return replace(model, max_steps=most, defaults=replace(model.defaults, num_steps=steps))


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
    field, given = "class", request.class_name
    if given is None:
        field, given = "prompt", request.prompt.strip()
    if not given:
        raise invalid(
            "class", f"{model.name} draws classes; name one", code="missing_required_parameter"
        )
    found = _as_class(given, model)
    if found is None:
        raise invalid(field, unknown("class", given, list(model.classes)), code="unknown_class")
    if request.prompt.strip() and _as_class(request.prompt.strip(), model) != found:
        raise invalid(
            "prompt", "the model draws classes and reads no prompt; leave it empty, or name the "
            "same class as in class",
        )  # fmt: skip
    return found, None


def _as_class(text: str, model: ServedModel) -> str | None:
    """The class that a text names, however its accents are written."""
    # No spelling is longer than the one whose accents stand apart. What is longer is not put in
    # order, which takes time by the square of its accents and holds the event loop up.
    if len(text) > max(len(unicodedata.normalize("NFD", name)) for name in model.classes):
        return None
    return {nfc(name): name for name in model.classes}.get(nfc(text))


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


def _negative_prompt(request: ImagesRequest, model: ServedModel, guidance: float) -> str | None:
    if request.negative_prompt is None:
        return None
    if model.kind == "class":
        raise invalid("negative_prompt", "the model draws classes and takes none")
    if not model.negative_prompts:
        raise invalid("negative_prompt", f"{model.name} takes none; leave it out")
    if guidance <= 1:
        raise invalid(
            "negative_prompt", f"has no effect at guidance {guidance:g}; set guidance_scale above 1"
        )
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
