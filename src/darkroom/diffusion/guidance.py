"""Classifier-free guidance: one network, with and without the class.

Training replaces some labels by a null class (`drop_labels`); sampling extrapolates from the
null class's prediction through the class's (`guided`). Source: Ho & Salimans 2022.

Assumes a network called as diffusers' UNet2DModel: net(x, t, class_labels=y).sample. Leaves to
others which scale is good: above 1 it trades variety for fidelity, and small data rarely needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from darkroom.diffusion.objective import Denoiser
from darkroom.errors import ConfigError


def conditional(network: Callable[..., Any], labels: Tensor | None) -> Denoiser:
    """The denoiser of p(x | labels); labels (B,) int64, or None for an unconditional network."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        if labels is None:
            return _sample(network(x, t))
        return _sample(network(x, t, class_labels=labels))

    return denoise


def guided(
    network: Callable[..., Any], labels: Tensor, null_class: int | None, scale: float
) -> Denoiser:
    """The denoiser f(null) + scale (f(class) - f(null)), where f is any prediction type.

    `scale` is 1 + w in the paper's notation: 1 is the plain conditional model, 0 the
    unconditional one (one call each); any other makes one call with a doubled batch.
    Errors: ConfigError where the scale is not a finite number >= 0, or where the model was
    trained without a null class and the scale needs one.
    """
    if not (math.isfinite(scale) and scale >= 0):
        raise ConfigError("guidance_scale", scale, "must be a number of at least 0")
    if scale == 1:
        return conditional(network, labels)
    if null_class is None:
        raise ConfigError(
            "guidance_scale",
            scale,
            "the model has no null class to guide away from",
            "use 1, or train with label dropout above 0",
        )
    null_labels = torch.full_like(labels, null_class)
    if scale == 0:
        return conditional(network, null_labels)
    both = conditional(network, torch.cat([null_labels, labels]))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        null, conditioned = both(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        return extrapolated(null, conditioned, scale)

    return denoise


def extrapolated(null: Tensor, conditioned: Tensor, scale: float | Tensor) -> Tensor:
    """The guided prediction; scale: of all rows, or each row's own, (B, 1, ...)."""
    return null + scale * (conditioned - null)


def drop_labels(labels: Tensor, null_class: int, probability: float, uniform: Tensor) -> Tensor:
    """Labels (B,) with each replaced by the null class with this probability.

    uniform: a number of each label's own, drawn from [0, 1), (B,).
    Source: Ho & Salimans 2022, Algorithm 1 (p_uncond).
    """
    return torch.where(uniform < probability, null_class, labels)


def _sample(output: Any) -> Tensor:
    """A network's tensor, whether bare or in diffusers' output object."""
    result: Tensor = getattr(output, "sample", output) if not isinstance(output, Tensor) else output
    return result
