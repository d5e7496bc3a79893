"""How a model runs on workers, and how it draws: settings that several verbs share.

Imports neither ray nor torch, so the command line can print and check them at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom.config import (
    Config,
    Fraction,
    ModelPlace,
    NonNegativeFloat,
    Place,
    PositiveInt,
    operational,
)
from darkroom.diffusion.config import SamplerName
from darkroom.jobs.batch.config import WorkerPool

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Side = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class WorkerConfig(WorkerPool):
    """A pool of Ray actors that each hold a model, with as many threads as CPUs."""

    device: Annotated[Device, operational()] = "auto"
    """auto takes the GPU when the worker has one."""
    precision: Precision = "float32"
    """Type of the weights; bfloat16 and float16 are for GPUs, and batch mates may then change a
    grey level."""

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        if self.device == "cuda" and not self.num_gpus:
            raise ValueError("device cuda needs num_gpus above 0, or Ray hides the GPU; set both")
        return self


class DrawingConfig(WorkerConfig):
    """Workers that draw."""

    channels_last: Annotated[bool, operational()] = False
    """Channels-last memory layout: faster on a GPU with tensor cores."""
    compile: Annotated[bool, operational()] = False
    """torch.compile the network: worth it for thousands of pictures."""


class ClassDrawingConfig(DrawingConfig):
    """Reverse diffusion with a class-conditional model that `darkroom train` published."""

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

    @model_validator(mode="after")
    def _check_eta(self) -> Self:
        if self.eta > 0 and self.sampler != "ddim":
            raise ValueError(f"eta belongs to ddim, not {self.sampler}; leave it at 0")
        return self


class SigningConfig(Config):
    """A signed C2PA manifest in every picture; needs the extra `c2pa`. Whether there is one belongs
    to the digest, with whose key does not."""

    key: Annotated[Place, operational()]
    """File with the private key, PEM without a passphrase: EC, Ed25519 or RSA. Read again when it
    changes."""
    certificate: Annotated[Place, operational()]
    """File with the key's certificate and, after it, those that lead to the root (PEM)."""


class LoraUse(Config):
    """A LoRA over the model that draws."""

    model: Annotated[ModelPlace, operational()]
    """What `darkroom finetune` published, or a folder with one safetensors file in diffusers'
    format; its digest, not this name, identifies it."""
    weight: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """How much it counts: 0 is the base alone."""
    any_base: Annotated[bool, operational()] = False
    """Draw over another base than the one that it was trained over, if names and shapes fit."""


class TextOptions(Config):
    """How a diffusers text-to-image pipeline draws, whatever it is asked for."""

    variant: str | None = None
    """Which weight files of the folder: fp16 for `*.fp16.safetensors`."""
    lora: LoraUse | None = None
    """A LoRA over the model; null for none."""
    negative_prompt: str | None = None
    """What pictures should not show; needs guidance."""
    width: Side | None = None
    """Pixels; null takes the model's own size."""
    height: Side | None = None
    """Pixels; null takes the model's own size."""
    attention_slicing: bool = False
    """Attention head by head: less memory, slower."""
    vae_slicing: bool = False
    """Decode picture by picture: less memory for large batches."""
    vae_tiling: bool = False
    """Decode in tiles: less memory for large pictures, faint seams possible."""


class TextDrawingConfig(DrawingConfig, TextOptions):
    """Any diffusers text-to-image pipeline. The defaults suit SDXL-Turbo."""

    num_steps: PositiveInt = 1
    """Denoising steps. The default suits SDXL-Turbo."""
    guidance_scale: NonNegativeFloat = 0.0
    """Classifier-free guidance as the pipeline counts it. The default suits SDXL-Turbo."""
