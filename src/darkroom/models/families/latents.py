"""Pictures to latents: the VAE's posterior, a draw from it, and its scale.

The posterior's mean and log-variance are what a cache keeps, so that a draw stays random.
Legend: B rows; pictures (B, 3, H, W) in [-1, 1], latents (B, C, h, w).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -30.0, 20.0
"""diffusers' DiagonalGaussianDistribution clamps to these."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z | picture), a diagonal Gaussian, before scale and shift; both are (B, C, h, w)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A draw, given standard normal noise of the same shape."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


@torch.no_grad()
def encode_picture(vae: Any, x_BCHW: Tensor) -> Posterior:
    """The posterior of pictures in [-1, 1], in the VAE's own precision whatever autocast says."""
    with torch.autocast(x_BCHW.device.type, enabled=False):
        found = vae.encode(x_BCHW.to(vae.dtype)).latent_dist
    log_variance = found.logvar.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
    return Posterior(found.mean, log_variance)


def to_network(vae_config: Mapping[str, Any], z_BCHW: Tensor) -> Tensor:
    """Latents as the network takes them: shifted and scaled to about unit variance."""
    config, scale = vae_config, float(vae_config["scaling_factor"])
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        return (z_BCHW - _channels(mean, z_BCHW)) * scale / _channels(std, z_BCHW)
    shift: float = config.get("shift_factor") or 0.0
    return (z_BCHW - shift) * scale


def from_network(vae_config: Mapping[str, Any], x_BCHW: Tensor) -> Tensor:
    """The inverse of `to_network`: latents as the VAE takes them."""
    config, scale = vae_config, float(vae_config["scaling_factor"])
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        return x_BCHW * _channels(std, x_BCHW) / scale + _channels(mean, x_BCHW)
    shift: float = config.get("shift_factor") or 0.0
    return x_BCHW / scale + shift


def decode_latents(vae: Any, x_BCHW: Tensor) -> Tensor:
    """Latents as the network has them to pictures, about in [-1, 1], with gradients; in the VAE's
    own precision whatever autocast says."""
    with torch.autocast(x_BCHW.device.type, enabled=False):
        latents = from_network(vae.config, x_BCHW.to(vae.dtype))
        pictures: Tensor = vae.decode(latents).sample
    return pictures


def _channels(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
