"""What the drawing engine is asked, what it answers, and what it says of its models.

Plain data: imports neither ray nor torch. Whether a request suits its model is the engine's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from darkroom.diffusion.config import SamplerName
from darkroom.storage import Parent

ServedSampler = SamplerName | Literal["euler", "own"]
"""own: the scheduler that the model's folder names; with class-conditional models there is none."""
ServedKind = Literal["class", "prompt"]
MAX_PREVIEWS = 3


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """One picture to draw. What is not given here is the model's default, which the caller fills
    in: the request says all that the picture depends on."""

    model: str
    """A name of `Engine.models()`."""
    seed: int
    """0 .. 2**63 - 1."""
    index: int = 0
    """Which picture of that seed: number `index` of `darkroom sample --seed`."""
    num_steps: int
    guidance: float
    """1 (or less, with prompts) is no guidance."""
    sampler: ServedSampler
    width: int
    """Pixels."""
    height: int
    label: str | None = None
    """The class, for a class-conditional model."""
    prompt: str | None = None
    negative_prompt: str | None = None
    lora: str | None = None
    """A name of the model's `loras`."""
    exact: bool = False
    """Drawn alone: bit for bit what nobody else's request can change."""
    num_previews: int = 0
    """Partial pictures on the way, 0 to 3; fewer come where there are fewer steps."""
    timeout_seconds: float | None = None
    """From the call of `draw` to the picture; DeadlineError after it."""


@dataclass(frozen=True)
class Preview:
    """What the picture looks like so far: the model's guess of the finished one."""

    index: int
    """0, 1, 2."""
    step: int
    """Steps done."""
    num_steps: int
    pixels: NDArray[np.uint8] = field(repr=False)
    """H x W (grey) or H x W x 3."""


@dataclass(frozen=True)
class Drawing:
    """A finished picture."""

    pixels: NDArray[np.uint8] = field(repr=False)
    """H x W (grey) or H x W x 3."""
    num_steps: int
    """Calls of the network (with guidance, of a doubled one)."""
    waited_seconds: float
    """Before the first step."""
    drawing_seconds: float
    """From the first step to the picture."""
    largest_batch: int
    """Most pictures that shared a step with it, itself included."""
    flagged: bool = False
    """A safety checker blanked it: the model's own, or the operator's."""
    num_tokens_cut: int = 0
    """Tokens at the end of the prompt that the text encoder which cuts most did not read."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a request that does not say gets."""

    num_steps: int
    guidance: float
    sampler: ServedSampler


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A loaded model, for those who choose and check."""

    name: str
    digest: str
    """Names its contents: as in the lineage of `sample` and `generate`."""
    kind: ServedKind
    classes: tuple[str, ...] = ()
    """Of a class-conditional model; without any, it draws without a class."""
    width: int
    """Pixels, where a request does not say."""
    height: int
    side_multiple: int
    """Of widths and heights."""
    min_side: int
    """Equal to `max_side` where the model draws one size alone."""
    max_side: int
    max_steps: int
    samplers: tuple[ServedSampler, ...]
    guidable: bool
    """Whether guidance other than 1 is possible."""
    negative_prompts: bool = False
    """Whether it takes them; with guidance above 1 only."""
    defaults: Defaults
    loras: dict[str, str] = field(default_factory=dict)
    """Name -> digest."""
    steps_joined: bool
    """Whether its requests join and leave between steps; else they are drawn one at a time."""
    origin: Parent | None = None
    """Where it lies, for the lineage of pictures that are kept; no client is told."""
    lora_origins: dict[str, Parent] = field(default_factory=dict)

    def parents(self, lora: str | None) -> tuple[Parent, ...]:
        """What a picture is made from."""
        found = (self.origin, None if lora is None else self.lora_origins.get(lora))
        return tuple(each for each in found if each is not None)
