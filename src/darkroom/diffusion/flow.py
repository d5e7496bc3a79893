"""Flow matching along straight paths: x_sigma = (1 - sigma) x0 + sigma eps, sigma in [0, 1].

The network predicts the path's velocity, eps - x0 (Liu et al. 2022, Lipman et al. 2022). Which
sigmas are trained and visited is shifted towards noise for larger pictures (Esser et al. 2024).
Leaves drawing to the caller. Legend: (B, ...) tensors, sigma (B,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def interpolate(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma, shaped like x0."""
    sigma = sigma.reshape(-1, *[1] * (x0.ndim - 1)).to(x0)
    return (1 - sigma) * x0 + sigma * noise


def logit_normal(u: Tensor, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """sigmoid of a normal variable, from u uniform in [0, 1). Source: Esser et al. 2024, 3.1."""
    return torch.sigmoid(mean + std * torch.special.ndtri(u))


def shifted(sigma: Tensor, shift: float) -> Tensor:
    """sigma moved towards noise by `shift` >= 1. Source: Esser et al. 2024, eq. 23."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def shift_by_tokens(
    num_tokens: int,
    *,
    base_tokens: int = 256,
    max_tokens: int = 4096,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
) -> float:
    """FLUX's shift: exp(mu) with mu linear in the number of tokens of a picture.

    `shifted(sigma, exp(mu))` is diffusers' exponential time shift. Defaults are FLUX.1's.
    """
    slope = (max_shift - base_shift) / (max_tokens - base_tokens)
    mu = base_shift + slope * (num_tokens - base_tokens)
    return math.exp(mu)
