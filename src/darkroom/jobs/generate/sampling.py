"""Token sampling whose randomness belongs to each row, whatever batch the row is in.

Adding Gumbel noise to scaled logits and taking the largest is sampling from their softmax
(Gumbel 1954; Maddison et al. 2014). The noise is a function of (row seed, position), so the
library's own greedy search then samples, and no global generator takes part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor


class RowGumbel(LogitsProcessor):
    """Logits of shape (B, V) to noisy logits of shape (B, V); row i has its own stream."""

    def __init__(self, seeds: Sequence[int], *, temperature: float, prompt_length: int) -> None:
        self._seeds, self._temperature = list(seeds), temperature
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        position = input_ids.shape[1] - self._prompt_length
        noise = np.stack([gumbel(seed, position, scores.shape[1]) for seed in self._seeds])
        return scores / self._temperature + torch.from_numpy(noise).to(scores)


class TopP(LogitsProcessor):
    """Leaves the likeliest tokens that together reach `top_p` at this temperature."""

    def __init__(self, top_p: float, *, temperature: float) -> None:
        self._top_p, self._temperature = top_p, temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ordered, order = scores.sort(dim=-1, descending=True)
        before = (ordered / self._temperature).softmax(-1).cumsum(-1).roll(1, -1)
        before[:, 0] = 0  # the likeliest token always stays
        dropped = torch.zeros_like(scores, dtype=torch.bool)
        dropped.scatter_(1, order, before >= self._top_p)
        return scores.masked_fill(dropped, -torch.inf)


def gumbel(seed: int, position: int, size: int) -> NDArray[np.float32]:
    """`size` standard Gumbel draws for one position of one row."""
    key = np.array([seed, position], dtype=np.uint64)
    uniform = np.random.Generator(np.random.Philox(key=key)).random(size, dtype=np.float32)
    tiny = np.finfo(np.float32).tiny
    noise: NDArray[np.float32] = -np.log(-np.log(uniform.clip(tiny, 1 - 2**-24)))
    return noise.astype(np.float32)
