"""Each image's own noise, whatever batch, actor or device it is drawn in.

Noise is a pure function of (image seed, draw): a counter-based generator (Philox, keyed by
both) needs no state, so a redone step or a split batch gets equal numbers. torch's CPU generator
is not used because it keeps 32 bits of a seed, too few to tell 50,000 images apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

INITIAL_DRAW = 0


class ImageNoise:
    """Standard normal noise for a batch of images, one row per image seed.

    `initial()` is x_T; calling it with a step index gives that step's fresh noise: (B, *shape).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._seeds, self._shape = list(seeds), tuple(shape)
        self._device, self._dtype = device, dtype

    def initial(self) -> Tensor:
        """The pure noise x_T that sampling starts from."""
        return self._draw(INITIAL_DRAW)

    def __call__(self, step_index: int) -> Tensor:
        """The noise that sampling step `step_index` (0, 1, ...) adds."""
        return self._draw(INITIAL_DRAW + 1 + step_index)

    def _draw(self, draw: int) -> Tensor:
        rows = np.stack(
            [
                _generator(seed, draw).standard_normal(self._shape, dtype=np.float32)
                for seed in self._seeds
            ]
        )
        return torch.from_numpy(rows).to(device=self._device, dtype=self._dtype)


def _generator(seed: int, draw: int) -> np.random.Generator:
    # Spelt as uint64: numpy would make floats of a list that holds a seed of 2**63 or more.
    return np.random.Generator(np.random.Philox(key=np.array([seed, draw], dtype=np.uint64)))
