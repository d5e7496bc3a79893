"""Takes histograms of weights and gradients, block by block; `histogram_log.py` keeps them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from darkroom.jobs.training.block_norms import block_of, clip_factor
from darkroom.jobs.training.histogram_log import EDGES, BlockHistogram
from darkroom.jobs.training.sharding import whole


def histograms(
    step: int,
    trained: Mapping[str, nn.Parameter],
    *,
    grad_norm: Tensor,
    max_grad_norm: float | None,
) -> list[BlockHistogram]:
    """Of each block's weights, and gradients before clipping. Collective where they are shares.

    trained: by name, with the gradients of the step, which were clipped to max_grad_norm.
    grad_norm: their norm before.
    """
    factor = clip_factor(grad_norm, max_grad_norm)
    device = next(iter(trained.values())).device
    edges = torch.from_numpy(EDGES).to(device)
    blocks: dict[str, _Counts] = defaultdict(lambda: _Counts(edges))
    for name, parameter in trained.items():
        block = block_of(name)
        blocks[f"weights/{block}"].take(whole(parameter.detach()).double())
        if parameter.grad is not None:
            blocks[f"gradients/{block}"].take(whole(parameter.grad).double() / factor.to(device))
    return [found.histogram(step, name) for name, found in sorted(blocks.items())]


class _Counts:
    """A block's, parameter by parameter: no copy of more than one is made."""

    def __init__(self, edges: Tensor) -> None:
        self._edges = edges
        self._counts = torch.zeros(len(edges) + 1, dtype=torch.int64, device=edges.device)
        self._ends: list[Tensor] = []

    def take(self, values: Tensor) -> None:
        """A parameter's, in float64."""
        bins = torch.bucketize(values.flatten(), self._edges)
        self._counts += torch.bincount(bins, minlength=len(self._counts))
        ends = [values.min(), values.max(), values.sum(), values.square().sum()]
        self._ends.append(torch.stack(ends))

    def histogram(self, step: int, name: str) -> BlockHistogram:
        least, most, total, squares = torch.stack(self._ends).T
        return BlockHistogram(
            step, name, float(least.min()), float(most.max()), float(total.sum()),
            float(squares.sum()), self._counts.tolist(),
        )  # fmt: skip
