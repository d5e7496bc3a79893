"""A shuffle of the numbers below n that is computed place by place, and never held.

A Feistel network (Luby and Rackoff 1988) on the fewest bits that hold n: each round changes one
half of a number's bits by a keyed hash of the other half, so it can be undone, whatever the hash
is. What comes out at n or above is sent through again until it is below (cycle walking, Black and
Rogaway 2002): the bits hold fewer than 2 n numbers, so that happens less than once on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_ROUNDS = 16
"""Four do where halves are large; with eight, some orders of five numbers come twice as often."""

# The finalizer of splitmix64 (Steele, Lea and Flood 2014): every bit of the input reaches all.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIXERS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT = np.uint64(31)

Numbers = NDArray[np.int64]
_Words = NDArray[np.uint64]


class Bijection:
    """One order of the numbers 0 to `size` - 1; equal keys give equal orders on every machine."""

    def __init__(self, size: int, keys: _Words) -> None:
        """keys: `NUM_ROUNDS` of them."""
        num_bits = max(1, (size - 1).bit_length())
        num_low = num_bits // 2
        self._size, self._keys = np.uint64(size), keys
        self._num_low = np.uint64(num_low)
        self._low = np.uint64((1 << num_low) - 1)
        self._high = np.uint64((1 << (num_bits - num_low)) - 1)

    def at(self, places: Numbers) -> Numbers:
        """The numbers at these places of the order."""
        numbers = self._once(places.astype(np.uint64))
        outside = np.flatnonzero(numbers >= self._size)
        while len(outside):
            numbers[outside] = self._once(numbers[outside])
            outside = outside[numbers[outside] >= self._size]
        return numbers.astype(np.int64)

    def _once(self, numbers: _Words) -> _Words:
        high, low = numbers >> self._num_low, numbers & self._low
        for number, key in enumerate(self._keys):
            if number % 2:
                low ^= _hash(high, key) & self._low
            else:
                high ^= _hash(low, key) & self._high
        return (high << self._num_low) | low


def _hash(values: _Words, key: np.uint64) -> _Words:
    mixed = values * _STEP
    mixed += key
    for shift, factor in _MIXERS:
        mixed ^= mixed >> shift
        mixed *= factor
    mixed ^= mixed >> _LAST_SHIFT
    return mixed
