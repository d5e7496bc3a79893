"""Every random draw of a row as a pure function of (the run's seed, the purpose, the row's id).

So a redone row, another order of rows or another number of workers draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def row_seed(seed: int, purpose: str, row_id: str) -> int:
    """63 bits: what torch and Parquet both hold as they are."""
    digest = hashlib.sha256(f"generate\0{seed}\0{purpose}\0{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def choose(values: Sequence[str], *, seed: int, name: str, row_id: str) -> str:
    """One of `values`, each as likely as the others; `name` keeps the lists independent."""
    return values[row_seed(seed, f"choice {name}", row_id) % len(values)]
