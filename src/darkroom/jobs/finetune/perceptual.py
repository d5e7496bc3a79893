"""The perceptual term: how far apart the features of two pictures are.

The estimate of x0 is decoded and compared with the decoded x0, not with the picture itself: what
the VAE loses is no error of the network, and cached latents have no picture. Distances are LPIPS's
with all channels alike (Zhang et al. 2018, eq. 1 without the learnt weights).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.training.training_stream import Batch
from darkroom.models.families.latents import decode_latents


class PerceptualLoss:
    """Distances of features under a frozen network."""

    def __init__(self, features: nn.Module, vae: Any) -> None:
        """features: pictures in [-1, 1] to a list of layers' features."""
        self._features = features
        self._vae = vae

    def to(self, device: torch.device) -> None:
        """Move the network there; the VAE is the module's."""
        self._features.to(device)

    def __call__(self, estimate: Estimate, _: Batch) -> Tensor:
        """(B,), weighted by the share of the picture in the input."""
        with torch.no_grad():
            wanted = self._features(decode_latents(self._vae, estimate.x0))
        found = self._features(decode_latents(self._vae, estimate.x0_hat))
        distances = [_distance(a, b) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(distances).mean(dim=0) * estimate.picture_share


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over places of the squared distance of unit vectors of channels, (B,)."""
    channels = 1 if a.ndim == 4 else -1
    a, b = functional.normalize(a, dim=channels), functional.normalize(b, dim=channels)
    return (a - b).square().sum(dim=channels).flatten(1).mean(dim=1)
