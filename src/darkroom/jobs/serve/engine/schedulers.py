"""A scheduler for each picture, set up as diffusers' own pipeline of the family does.

A scheduler counts its steps and may remember earlier ones, so no two pictures share one.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkroom.jobs.serve.request import ServedSampler
from darkroom.models.families.family import Family

_CLASSES: Mapping[ServedSampler, str] = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
_SETS_BEGIN = ("sdxl", "flux")
"""Families whose pipelines say that they begin at the first step."""


def samplers_of(family: Family) -> tuple[ServedSampler, ...]:
    """own is the folder's; the others read its noise levels."""
    return ("own", *_CLASSES) if family.objective == "diffusion" else ("own",)


class PictureScheduler:
    """One picture's steps. x (1, C, H, W): of latents."""

    def __init__(
        self,
        sampler: ServedSampler,
        pipeline: Any,
        family: Family,
        *,
        num_steps: int,
        latent_size: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        import diffusers

        own = pipeline.scheduler
        kind: Any = type(own) if sampler == "own" else getattr(diffusers, _CLASSES[sampler])
        self._scheduler = kind.from_config(own.config)
        settings = _settings(own, family, num_steps, latent_size)
        # On the CPU, so that no step waits for the device to tell where it is.
        self._scheduler.set_timesteps(device="cpu", **settings)
        if family.name in _SETS_BEGIN and hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)
        self._timesteps: Tensor = self._scheduler.timesteps
        self._flow = family.objective == "flow"  # their pipelines pass no generator on
        takes = inspect.signature(self._scheduler.step).parameters
        fresh_noise = "generator" in takes and not self._flow
        self._options = {"generator": generator} if fresh_noise else {}
        self.num_done = 0

    @property
    def done(self) -> bool:
        return self.num_done == len(self._timesteps)

    @property
    def t(self) -> Tensor:
        """A scalar, float32: samplers that count in whole steps may stand beside others."""
        return self._timesteps[self.num_done].float()

    def scaled_noise(self, noise: Tensor) -> Tensor:
        """x at the first step."""
        return noise if self._flow else noise * self._scheduler.init_noise_sigma

    def network_input(self, x: Tensor) -> Tensor:
        if not hasattr(self._scheduler, "scale_model_input"):
            return x
        scaled: Tensor = self._scheduler.scale_model_input(x, self._timesteps[self.num_done])
        return scaled

    def advance(self, prediction: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """x at the next noise level, and the best guess of the picture there is."""
        guess = x - self._scheduler.sigmas[self.num_done] * prediction if self._flow else None
        found = self._scheduler.step(prediction, self._timesteps[self.num_done], x, **self._options)
        self.num_done += 1
        if guess is None:
            guess = getattr(found, "pred_original_sample", None)
        moved: Tensor = found.prev_sample
        return moved, moved if guess is None else guess


def _settings(
    scheduler: Any, family: Family, num_steps: int, latent_size: tuple[int, int]
) -> dict[str, Any]:
    """What set_timesteps is told."""
    if family.objective == "diffusion":
        return {"num_inference_steps": num_steps}
    config, patch = scheduler.config, family.patch
    tokens = (latent_size[0] // patch) * (latent_size[1] // patch)
    if family.name == "flux":
        own_sigmas = config.get("use_flow_sigmas", False)
        sigmas = None if own_sigmas else np.linspace(1.0, 1 / num_steps, num_steps)
        steps = {"num_inference_steps": num_steps} if own_sigmas else {"sigmas": sigmas}
        return {**steps, "mu": _shift(config, tokens, most=1.15)}
    if config.get("use_dynamic_shifting", None):
        return {"num_inference_steps": num_steps, "mu": _shift(config, tokens, most=1.16)}
    return {"num_inference_steps": num_steps}


def _shift(config: Any, tokens: int, *, most: float) -> float:
    """More noise for larger pictures. Source: Esser et al. 2024, section 5.3.2, as diffusers."""
    least_tokens = config.get("base_image_seq_len", 256)
    most_tokens = config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", most)
    slope = (high - low) / (most_tokens - least_tokens)
    return float(tokens * slope + (low - slope * least_tokens))
