"""The noise of a batch in which every picture has its own source.

Each picture's initial noise and the noise of its every step come from one CPU generator that
its seed alone starts. Batch mates, actors and the device therefore cannot change it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class BatchNoise:
    """Standard normal noise, BCHW, row b from the generator of picture b."""

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape = shape
        self._device = device
        self._next_step = 0
        self.initial = self._draw()
        """x_T: what the pictures start from."""

    def __call__(self, step: int) -> Tensor:
        """The noise of sampling step `step`; steps are asked for once each, in order."""
        if step < self._next_step:
            raise ValueError(f"noise of step {step} was drawn before; a generator cannot go back")
        self._next_step = step + 1
        return self._draw()

    def _draw(self) -> Tensor:
        rows = [torch.randn(self._shape, generator=generator) for generator in self._generators]
        return torch.stack(rows).to(self._device)
