"""Histograms of weights and gradients by block, at some of a run's steps, for TensorBoard.

They travel inside every checkpoint beside the metrics, as pictures do (`picture_log.py`). The
edges are the same for all: a decade in eight parts, both signs, so steps and runs can be compared.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_MAGNITUDES = np.logspace(-10, 4, 14 * 8 + 1)
EDGES = np.concatenate([-_MAGNITUDES[::-1], [0.0], _MAGNITUDES])
"""Value v is counted in the bin before the first edge that is not below it; what is beyond both
ends, in the first bin and in a last one."""

_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("name", pa.string()),
        *((name, pa.float64()) for name in ("least", "most", "sum", "sum_squares")),
        ("counts", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True)
class BlockHistogram:
    """One block's values at one step."""

    step: int
    name: str
    """weights/<block> or gradients/<block>."""
    least: float
    most: float
    sum: float
    sum_squares: float
    counts: list[int]
    """One for each of EDGES, and one beyond."""

    @property
    def num(self) -> int:
        """Values."""
        return sum(self.counts)


class HistogramLog:
    """Histograms by step, in order."""

    def __init__(self, histograms: Iterable[BlockHistogram] = ()) -> None:
        self.histograms = list(histograms)

    @classmethod
    def from_bytes(cls, data: bytes) -> HistogramLog:
        """Read back what `to_bytes` wrote."""
        rows = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
        return cls(BlockHistogram(**row) for row in rows)

    def add(self, step: int, histograms: Iterable[BlockHistogram]) -> None:
        """Those of a step, in place of what was taken there before."""
        kept = [each for each in self.histograms if each.step < step]
        self.histograms = [*kept, *histograms]

    def to_bytes(self) -> bytes:
        """As a Parquet file."""
        rows = [asdict(each) for each in self.histograms]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink)
        return sink.getvalue()
