"""What a loaded model is to the engine: pictures that are begun, moved on together, and finished.

`class_model.py` and `family_model.py` join steps, `whole_pipeline.py` draws picture by picture.
All of it runs on the drawing thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeGuard

from darkroom.config import closest
from darkroom.errors import ConfigError
from darkroom.jobs.drawing.drawer import Pixels
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.serve.request import MAX_PREVIEWS, DrawRequest, ServedModel

_MAX_SEED = 2**63 - 1


class PictureUnderWay(Protocol):
    """One picture between two steps."""

    @property
    def num_done(self) -> int:
        """Steps taken."""

    @property
    def done(self) -> bool:
        """Whether no step is left."""


@dataclass(frozen=True)
class Finished:
    """A picture, and whether a safety checker blanked it."""

    pixels: Pixels
    flagged: bool = False
    num_tokens_cut: int = 0


OnStep = Callable[[int, Callable[[], Pixels | None]], None]
"""(steps done, what it looks like so far): after each step of a whole picture; may raise."""


class StepModel(Protocol):
    """A model whose pictures share steps. Pictures are of its own making; Any to all others."""

    @property
    def served(self) -> ServedModel: ...

    def guided(self, request: DrawRequest, /) -> bool:
        """Whether it takes two rows of the network. From any thread."""

    def begin(self, request: DrawRequest, /) -> Any:
        """Its noise, its texts, its place on the way: a PictureUnderWay."""

    def step(self, pictures: Sequence[Any], /) -> None:
        """One step of each, in one call of the network. All are of one `BatchKey`."""

    def look(self, picture: Any, /) -> Pixels | None:
        """The model's guess of the finished picture; None where its own checker blanks that."""

    def finish(self, picture: Any, /) -> Finished:
        """Errors: ServingError where it holds values that are no numbers."""


class WholeModel(Protocol):
    """A model that draws picture by picture."""

    @property
    def served(self) -> ServedModel: ...

    def draw(self, request: DrawRequest, on_step: OnStep, /) -> Finished: ...


AnyModel = StepModel | WholeModel


def joins_steps(model: AnyModel) -> TypeGuard[StepModel]:
    """Which of both it is."""
    return model.served.steps_joined


@dataclass(frozen=True)
class BatchKey:
    """Requests with equal keys may share a step."""

    model: str
    lora: str | None
    width: int
    height: int
    guided: bool
    """Two rows of the network for each picture; its scale is each picture's own."""
    exact: bool
    """Alone, one after another."""

    @classmethod
    def of(cls, request: DrawRequest, model: AnyModel) -> Self:
        """A model that joins no steps has one line for all of its requests."""
        if not joins_steps(model):
            return cls(request.model, None, 0, 0, guided=False, exact=True)
        return cls(
            request.model, request.lora, request.width, request.height, model.guided(request),
            request.exact,
        )  # fmt: skip


def check_request(request: DrawRequest, served: ServedModel) -> None:
    """Whether the model can draw it. Errors: ConfigError naming the request's field."""
    for name, value, least, most in (
        ("seed", request.seed, 0, _MAX_SEED),
        ("num_steps", request.num_steps, 1, served.max_steps),
        ("width", request.width, served.min_side, served.max_side),
        ("height", request.height, served.min_side, served.max_side),
        ("num_previews", request.num_previews, 0, MAX_PREVIEWS),
    ):
        if not least <= value <= most:
            between = f"between {least} and {most}" if least < most else f"{least}"
            raise ConfigError(name, value, f"must be {between} with {served.name}")
    for name, value in (("width", request.width), ("height", request.height)):
        if value % served.side_multiple:
            raise ConfigError(name, value, f"must be a multiple of {served.side_multiple}")
    if not 0 <= request.guidance < float("inf"):
        raise ConfigError("guidance", request.guidance, "must be a number of at least 0")
    _check_name("sampler", request.sampler, served.samplers, served.name)
    if request.lora is not None:
        _check_name("lora", request.lora, tuple(served.loras), served.name)
    if served.kind == "class":
        _check_class(request, served)
    else:
        _check_prompt(request, served)


def _check_class(request: DrawRequest, served: ServedModel) -> None:
    for name, value in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if value is not None:
            raise ConfigError(name, value, f"{served.name} draws classes", "give a class")
    if (request.width, request.height) != (served.width, served.height):
        raise ConfigError(
            "width", request.width, f"{served.name} draws {served.width} x {served.height} alone"
        )
    if not served.guidable and request.guidance != 1:
        raise ConfigError(
            "guidance", request.guidance, f"{served.name} has no null class to guide from", "use 1"
        )
    if served.classes and request.label is None:
        raise ConfigError("label", None, f"{served.name} needs a class", _known(served.classes))
    if request.label is not None:
        _check_name("label", nfc(request.label), [*map(nfc, served.classes)], served.name)


def _check_prompt(request: DrawRequest, served: ServedModel) -> None:
    if request.label is not None:
        raise ConfigError("label", request.label, f"{served.name} has no classes", "give a prompt")
    if request.prompt is None:
        raise ConfigError("prompt", None, f"{served.name} needs a prompt")
    if request.negative_prompt is not None:
        if not served.negative_prompts:
            raise ConfigError(
                "negative_prompt", request.negative_prompt, f"{served.name} takes none"
            )
        if request.guidance <= 1:
            raise ConfigError(
                "negative_prompt", request.negative_prompt, "has no effect without guidance",
                "set guidance above 1",
            )  # fmt: skip


def _check_name(field: str, value: str, known: Sequence[str], model: str) -> None:
    if value not in known:
        guess = closest(value, known)
        raise ConfigError(
            field, value, f"{model} has none of that name",
            f"did you mean {guess!r}?" if guess else _known(known),
        )  # fmt: skip


def _known(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 12 else ""
    return f"known: {', '.join(names[:12]) or 'none'}{more}"


def sample_request(served: ServedModel) -> DrawRequest:
    """What the model draws by itself: to warm it, and for a first look."""
    given = served.defaults
    return DrawRequest(
        model=served.name, seed=0, num_steps=given.num_steps, guidance=given.guidance,
        sampler=given.sampler, width=served.width, height=served.height,
        label=served.classes[0] if served.classes else None,
        prompt=None if served.kind == "class" else "a picture",
    )  # fmt: skip
