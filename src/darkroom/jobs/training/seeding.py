"""Seeds as pure functions of where training is.

No generator state is ever saved: a redone step draws what it drew the first time, because its
seed derives from the run's seed and the step's coordinates alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

# The first coordinate keeps the streams of different purposes apart.
DATA_ORDER = 1
TRAINING_STEP = 2
VALIDATION = 3
INITIAL_WEIGHTS = 4
COMPUTED_ORDER = 5


def derive_seed(seed: int, purpose: int, *coordinates: int) -> int:
    """A 63-bit seed for (seed, purpose, coordinates); equal on every platform."""
    sequence = np.random.SeedSequence([seed, purpose, *coordinates])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, purpose: int, *coordinates: int) -> np.random.Generator:
    """A numpy generator for (seed, purpose, coordinates)."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, purpose, *coordinates)))


def words(count: int, seed: int, purpose: int, *coordinates: int) -> NDArray[np.uint64]:
    """`count` 64-bit words for (seed, purpose, coordinates); equal on every platform."""
    sequence = np.random.SeedSequence([seed, purpose, *coordinates])
    return np.asarray(sequence.generate_state(count, np.uint64), np.uint64)


def row_key(row_id: str) -> int:
    """A row's id as a signed 64-bit number: a row is the same wherever it stands."""
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
