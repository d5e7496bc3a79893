"""LPIPS: how far apart two pictures look, by the layers of a network that recognises things.

Source: Zhang, Isola, Efros, Shechtman, Wang 2018. Each position of a layer is a unit vector of
channels; squared differences are weighted by channel (weights fitted to people's judgements),
averaged over positions, and summed over layers.

Assumes pictures (B, 3, H, W) in [0, 1] of one size, at least `MIN_LPIPS_SIDE`; nothing is
resized. Leaves the weights, and which pictures are compared, to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

LAYERS: Mapping[str, Sequence[int]] = {
    "alex": (2, 5, 8, 10, 12),
    "vgg": (4, 9, 16, 23, 30),
    "squeeze": (2, 5, 8, 10, 11, 12, 13),
}
"""By network: where its `features` in torchvision are cut, each piece ending in a layer that is
compared."""
_SMALLEST = 1e-8


class Lpips(nn.Module):
    """The distance of pictures a (B, 3, H, W) to pictures b: (B,), 0 for equal ones."""

    def __init__(
        self, net: str, features: nn.Sequential, channel_weights: Sequence[Tensor]
    ) -> None:
        """features: of torchvision's network. channel_weights: (C,) for each layer."""
        super().__init__()
        ends = LAYERS[net]
        starts = (0, *ends[:-1])
        self.pieces = nn.ModuleList(
            features[start:end] for start, end in zip(starts, ends, strict=True)
        )
        for index, weights in enumerate(channel_weights):
            self.register_buffer(f"weights_{index}", weights.reshape(-1, 1, 1))
        # ImageNet's mean and deviation, for pictures in [-1, 1]
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(-1, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(-1, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = (2 * torch.cat([a, b]) - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        distance = both.new_zeros(len(a), dtype=torch.float32)
        for index, piece in enumerate(self.pieces):
            both = piece(both)
            of_a, of_b = _unit(both.float()).chunk(2)
            weighted = (of_a - of_b) ** 2 * self.get_buffer(f"weights_{index}").float()
            distance += weighted.sum(dim=1).mean(dim=(1, 2))
        return distance


def _unit(features: Tensor) -> Tensor:
    """Each position's channels as a unit vector."""
    return features / torch.sqrt(_SMALLEST + (features**2).sum(dim=1, keepdim=True))
