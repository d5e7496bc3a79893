"""LPIPS against torchmetrics' copy of the authors' code, with the same random backbones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.helpers.feature_networks import photograph_crops
from torch import Tensor, nn

from darkroom.jobs.measuring.lpips import channel_weights
from darkroom.metrics.features import MIN_LPIPS_SIDE
from darkroom.metrics.lpips import LAYERS, Lpips


def both(net: str) -> tuple[Lpips, Any]:
    """Ours and torchmetrics', of the same weights."""
    from torchmetrics.functional.image.lpips import _LPIPS

    torch.manual_seed(0)
    theirs: Any = _LPIPS(pretrained=True, net=net, pnet_rand=True)  # type: ignore[arg-type]
    slices = theirs.net.slices if net == "squeeze" else theirs.net.children()
    features = nn.Sequential(*(layer for piece in slices for layer in piece))
    return Lpips(net, features, channel_weights(net)).eval(), theirs


def pictures(seed: int, side: int = 64) -> Tensor:
    return torch.from_numpy(photograph_crops(4, seed, side)) / 255


@pytest.mark.parametrize("net", LAYERS)
def test_distances_are_those_of_torchmetrics(net: str) -> None:
    ours, theirs = both(net)
    a, b = pictures(1), pictures(2)
    with torch.no_grad():
        expected = theirs(a, b, normalize=True).flatten()
        found = ours(a, b)
        assert expected.min() > 0
        assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
        assert found.numpy() == pytest.approx(ours(b, a).numpy(), rel=1e-5)
        assert ours(a, a).abs().max() == 0
        side = MIN_LPIPS_SIDE[net]
        assert torch.isfinite(ours(pictures(1, side), pictures(2, side))).all()
        with pytest.raises(RuntimeError):
            ours(pictures(1, side - 1), pictures(2, side - 1))
