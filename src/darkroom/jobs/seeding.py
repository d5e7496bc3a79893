"""Random choices among named things as a pure function of (seed, purpose, name).

So a redone row, another number of CPUs or another machine gives the same bytes, and one picture's
draws do not depend on which others are there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def rank_key(seed: int, purpose: str, name: str) -> bytes:
    """A sort key: ordering names by it is a uniform shuffle for each (seed, purpose)."""
    return _digest(seed, purpose, name)


def sample(
    names: Sequence[str], groups: Sequence[Hashable], *, limit: int | None, seed: int
) -> list[int]:
    """Positions of at most `limit` names, ascending: a quick look at all of the groups."""
    if limit is None or limit >= len(names):
        return list(range(len(names)))
    return sorted(draw_order(names, groups, seed=seed)[:limit])


def draw_order(names: Sequence[str], groups: Sequence[Hashable], *, seed: int) -> list[int]:
    """All positions; the first so many of them are a draw over the groups.

    One of each group comes first, in random order, then the rest of each in proportion.
    """
    sizes = Counter(groups)
    taken: Counter[Hashable] = Counter()
    order: list[tuple[bool, float, bytes, int]] = []
    for rank, at in sorted((rank_key(seed, "limit", name), at) for at, name in enumerate(names)):
        group = groups[at]
        share = (taken[group] + 0.5) / sizes[group] if taken[group] else 0.0
        order.append((taken[group] > 0, share, rank, at))
        taken[group] += 1
    return [at for *_, at in sorted(order)]


def generator(seed: int, purpose: str, name: str) -> np.random.Generator:
    """An independent random stream."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, purpose, name))))


def _digest(seed: int, purpose: str, name: str) -> bytes:
    text = f"{seed}\0{purpose}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
