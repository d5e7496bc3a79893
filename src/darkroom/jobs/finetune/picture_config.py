"""Config of validation pictures. Knows nothing of torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from darkroom.config import Config, NonNegativeFloat, PositiveInt, Seed, operational
from darkroom.jobs.training.config import ValidationConfig


class PicturesConfig(Config):
    """Pictures of the EMA weights on the way: each prompt with each seed."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """What is drawn."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Where each picture starts; the same at every step."""
    every_steps: PositiveInt | None = None
    """Optimizer steps between them, besides before the first step and at the end; null for as
    often as the validation."""
    num_steps: PositiveInt = 20
    """Denoising steps of each."""
    guidance_scale: NonNegativeFloat = 5.0
    """As the base's pipeline takes it."""


class FinetuneValidationConfig(ValidationConfig):
    """Loss of the EMA weights on fixed images, with fixed noise and timesteps; and pictures."""

    pictures: Annotated[PicturesConfig | None, operational()] = None
    """Pictures that rank 0 draws meanwhile; null for none."""
