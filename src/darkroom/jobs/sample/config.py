"""What `darkroom sample` draws, and how: the settings of one sampling job.

Assumes nothing about the model; class names are resolved against it when the job starts.
Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from darkroom.config import Place, PositiveInt, operational
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.drawing.config import (
    ClassDrawingConfig,
    SigningConfig,
    TextDrawingConfig,
    TextOptions,
)

DEFAULT_STRIP_FRAMES = 8


def _num_frames(value: object) -> object:
    """`--strip` alone, or `strip: true` in YAML, asks for the usual number of frames."""
    return DEFAULT_STRIP_FRAMES * value if isinstance(value, bool) else value


class TextConfig(TextOptions):
    """What a text-to-image model draws."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Drawn in turn."""


class SampleConfig(ClassDrawingConfig, BatchConfig):
    """Draw pictures with a trained model."""

    input: Annotated[Place, operational()]
    """URI of a model: what `darkroom train` or `finetune` published, or a diffusers text-to-image
    folder."""
    num_images: PositiveInt = 64
    """How many pictures to draw, over all classes or prompts."""
    limit: PositiveInt | None = None
    """Draw at most so many pictures: a quick look."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Class names or indices to draw in turn, also several in one text, between commas. A name wins
    over an index. null draws every class of the model in turn."""
    text: TextConfig | None = None
    """Prompts, for a text-to-image model, which draws by its own scheduler; null for a model of
    classes."""
    strip: Annotated[int, BeforeValidator(_num_frames), Field(ge=0, le=64)] = 0
    """Frames kept of the reverse process of one picture per class; true means 8, 0 keeps none."""
    piece_rows: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Pictures that are committed together. A killed run redoes at most the pieces in flight."""
    batch_size: Annotated[PositiveInt, operational()] = 64
    """Pictures drawn at once by one worker, at most a piece; never changes what is drawn."""
    num_workers: Annotated[int, operational(ge=1, le=4096)] = 2
    """Workers at once, each with the model in memory; never changes what is drawn."""

    signing: SigningConfig | None = None
    """A C2PA manifest in every picture; null for none."""

    @property
    def total(self) -> int:
        """Pictures to draw after `limit`."""
        return self.num_images if self.limit is None else min(self.num_images, self.limit)

    @property
    def drawing(self) -> ClassDrawingConfig | TextDrawingConfig:
        """How the model draws, for the drawer that fits it."""
        if self.text is None:
            return self
        options = {name: getattr(self.text, name) for name in TextOptions.model_fields}
        shared = TextDrawingConfig.model_fields.keys() - options.keys()
        return TextDrawingConfig(**{name: getattr(self, name) for name in shared}, **options)

    @property
    def frames_after(self) -> tuple[int, ...]:
        """How many steps are behind each frame of the strip: from 0 (noise) to num_steps."""
        last = self.strip - 1
        return tuple(round(self.num_steps * frame / last) for frame in range(self.strip))

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        if self.text is None:
            return self
        for name in ("classes", "sampler", "eta", "clip", "strip"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} belongs to models of classes, and text to text-to-image models, which "
                    f"draw by their own scheduler; leave out one of the two"
                )
        return self

    @model_validator(mode="after")
    def _check_strip(self) -> Self:
        if self.strip == 1:
            raise ValueError("a strip has at least 2 frames (noise and picture); 0 keeps none")
        if self.strip > self.num_steps + 1:
            raise ValueError(
                f"a strip of {self.strip} frames needs at least {self.strip - 1} steps; "
                "lower strip or raise num_steps"
            )
        return self
