"""What is random about a row: noise, timestep, dropout of its caption, a flip.

Each draw is a pure function of (seed, epoch, row, the draw's name). Neither the number of workers,
nor the size of a micro-batch, nor a step that is done again changes it; a new draw of another name
leaves the others as they are. Integers are equal on every device, and floats up to rounding.

All rows are drawn at once, on the batch's device, by a counter-based generator: no state, no loop
over rows, nothing to copy. Measured for 256 rows of 3 x 64 x 64 normals on one CPU thread: 22 ms.
One torch.randn takes 10 there, a torch.Generator reseeded for each row 11 (it keeps 32 bits of a
seed, too few), numpy's Philox for each row 35, and Philox4x32-10 written like this 88. For 128 rows
of 8 x 8 it is 0.16 ms, and numpy's Philox 1.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from darkroom.jobs.training.seeding import row_key

_GAMMA = 0x9E3779B97F4A7C15 - 2**64
"""The golden ratio as an odd 64-bit number; torch has signed ones."""
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))


def mix(values: Tensor) -> Tensor:
    """A bijection of int64 that leaves no pattern.

    Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"
    (SplitMix64's finalizer, Stafford's variant 13).
    """
    for shift, factor in _MIX:
        values = _shifted(values, shift).bitwise_xor_(values).mul_(factor)
    return _shifted(values, 31).bitwise_xor_(values)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shifted right, zeros from the left."""
    return (values >> bits).bitwise_and_((1 << (64 - bits)) - 1)


class RowDraws:
    """The draws of the rows of one batch.

    row: `row_key` of each row, int64 (B,). epoch: how often it was met before, int64 (B,).
    What is drawn is on their device.
    """

    def __init__(self, seed: int, row: Tensor, epoch: Tensor) -> None:
        self._seed, self._row, self._epoch = seed, row, epoch

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 (B, *shape). Source: Box & Muller 1958, on pairs of 32 bits."""
        count = math.prod(shape)
        bits = self._bits(name, -(-count // 2))
        # Half a step above 0: the logarithm is finite.
        radius = _shifted(bits, 32).float().add_(0.5).mul_(2**-32).log_().mul_(-2).sqrt_()
        angle = (bits & 0xFFFFFFFF).float().mul_(2 * math.pi * 2**-32)
        pairs = torch.cat((angle.cos().mul_(radius), angle.sin_().mul_(radius)), dim=1)
        return pairs[:, :count].reshape(-1, *shape)

    def uniform(self, name: str, shape: Sequence[int] = ()) -> Tensor:
        """Uniform float32 in [0, 1), (B, *shape)."""
        bits = self._bits(name, math.prod(shape))
        return (_shifted(bits, 40).float() * 2**-24).reshape(-1, *shape)

    def integers(self, name: str, high: int) -> Tensor:
        """Uniform int64 in [0, high), (B,); high is at most 2**31."""
        return (_shifted(self._bits(name, 1), 33)[:, 0] * high) >> 31

    def happens(self, name: str, probability: float) -> Tensor:
        """True with this probability, bool (B,)."""
        return self.uniform(name) < probability

    def _bits(self, name: str, count: int) -> Tensor:
        """64 random bits, int64 (B, count): SplitMix64 from a state of each row's own."""
        start = row_key(f"{self._seed} {name}")
        state = mix(mix(self._row ^ start) + self._epoch * _GAMMA)
        steps = torch.arange(1, count + 1, device=state.device) * _GAMMA
        return mix(state[:, None] + steps)
