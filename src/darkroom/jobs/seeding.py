"""Random choices among named things as a pure function of (seed, purpose, name).

So a redone row, another number of CPUs or another machine gives the same bytes, and one picture's
draws do not depend on which others are there.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rank_key(seed: int, purpose: str, name: str) -> bytes:
    """A sort key: ordering names by it is a uniform shuffle for each (seed, purpose)."""
    return _digest(seed, purpose, name)


def generator(seed: int, purpose: str, name: str) -> np.random.Generator:
    """An independent random stream."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, purpose, name))))


def _digest(seed: int, purpose: str, name: str) -> bytes:
    text = f"{seed}\0{purpose}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
