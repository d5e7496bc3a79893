"""What `darkroom sample` draws, and how: the settings of one sampling job.

Assumes nothing about the model; class names are resolved against it when the job starts.
Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from darkroom.config import (
    Fraction,
    JobConfig,
    NonNegativeFloat,
    Place,
    PositiveInt,
    operational,
)
from darkroom.diffusion.config import SamplerName

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]

DEFAULT_STRIP_FRAMES = 8


def _num_frames(value: object) -> object:
    """`--strip` alone, or `strip: true` in YAML, asks for the usual number of frames."""
    return DEFAULT_STRIP_FRAMES * value if isinstance(value, bool) else value


class SampleConfig(JobConfig):
    """Draw pictures with a trained model on a pool of Ray actors."""

    input: Annotated[Place, operational()]
    """URI of a trained model (what `darkroom train` published)."""
    num_images: PositiveInt = 64
    """How many pictures to draw, over all classes."""
    limit: PositiveInt | None = None
    """Draw at most so many pictures: a quick look."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Class names or indices to draw in turn, also several in one text, between commas. A name wins
    over an index. null draws every class of the model in turn."""
    sampler: SamplerName = "ddim"
    """ddpm (ancestral), ddim, or dpm-solver++ (second order, multistep)."""
    num_steps: PositiveInt = 50
    """Calls of the model per picture; at most the schedule's number of timesteps."""
    guidance_scale: NonNegativeFloat = 1.0
    """Classifier-free guidance: 1 is off (one call a step), above 1 trades variety for class."""
    eta: Fraction = 0.0
    """DDIM only: 0 is deterministic, 1 has DDPM's noise."""
    clip: bool = True
    """Clamp each predicted x_0 to the range of pictures, [-1, 1]."""
    strip: Annotated[int, BeforeValidator(_num_frames), Field(ge=0, le=64)] = 0
    """Frames kept of the reverse process of one picture per class; true means 8, 0 keeps none."""
    precision: Precision = "float32"
    """bfloat16 runs the network under autocast; batch mates may then change a grey level."""

    batch_size: Annotated[PositiveInt, operational()] = 64
    """Pictures drawn at once by one actor; never changes what is drawn."""
    num_actors: Annotated[PositiveInt, operational()] = 2
    """Ray actors that draw; never changes what is drawn."""
    num_cpus: Annotated[NonNegativeFloat | None, operational()] = None
    """CPUs that Ray reserves per actor, and its threads; null is 1, or 0 beside a GPU."""
    num_gpus: Annotated[NonNegativeFloat, operational()] = 0.0
    """GPUs per actor; a fraction lets several actors share one."""
    max_restarts: Annotated[int, operational(ge=0)] = 4
    """How often a dead actor is replaced; a batch is tried once more after each."""
    device: Annotated[Device, operational()] = "auto"
    """auto takes the GPU when the actor has one."""
    channels_last: Annotated[bool, operational()] = False
    """Channels-last memory layout: faster on a GPU with tensor cores."""
    compile: Annotated[bool, operational()] = False
    """torch.compile the model: worth it for thousands of pictures."""

    @property
    def total(self) -> int:
        """Pictures to draw after `limit`."""
        return self.num_images if self.limit is None else min(self.num_images, self.limit)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.eta > 0 and self.sampler != "ddim":
            raise ValueError(f"eta belongs to ddim, not {self.sampler}; leave it at 0")
        if self.strip == 1:
            raise ValueError("a strip has at least 2 frames (noise and picture); 0 keeps none")
        if self.strip > self.num_steps + 1:
            raise ValueError(
                f"a strip of {self.strip} frames needs at least {self.strip - 1} steps; "
                "lower strip or raise num_steps"
            )
        if self.num_gpus > 1 and not float(self.num_gpus).is_integer():
            raise ValueError("num_gpus above 1 must be whole; use a fraction below 1 to share")
        if self.device == "cuda" and not self.num_gpus:
            raise ValueError("device cuda needs num_gpus above 0, or Ray hides the GPU; set both")
        return self
