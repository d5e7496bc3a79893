"""Histograms of weights and gradients by block, at some of a run's steps, for TensorBoard.

They travel inside every checkpoint beside the metrics, as pictures do (`picture_log.py`). The
edges are the same for all: a decade in eight parts, both signs, so steps and runs can be compared.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from darkroom.jobs.training.block_norms import block_of, clip_factor
from darkroom.jobs.training.sharding import whole

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


def histograms(
    step: int,
    trained: Mapping[str, nn.Parameter],
    *,
    grad_norm: Tensor,
    max_grad_norm: float | None,
) -> list[BlockHistogram]:
    """Of each block's weights, and gradients before clipping. Collective where they are shares.

    trained: by name, with the gradients of the step, which were clipped to max_grad_norm.
    grad_norm: their norm before.
    """
    factor = clip_factor(grad_norm, max_grad_norm)
    blocks: dict[str, _Counts] = {}
    for name, parameter in trained.items():
        block = block_of(name)
        values = {f"weights/{block}": parameter.detach()}
        if parameter.grad is not None:
            values[f"gradients/{block}"] = parameter.grad
        for key, tensor in values.items():
            scale = 1 / factor if key.startswith("gradients") else torch.ones_like(factor)
            blocks.setdefault(key, _Counts(parameter.device)).take(whole(tensor), scale)
    return [found.histogram(step, name) for name, found in sorted(blocks.items())]


class _Counts:
    """A block's, parameter by parameter: no copy of more than one is made."""

    def __init__(self, device: torch.device) -> None:
        self._edges = torch.from_numpy(EDGES).to(device)
        self._counts = torch.zeros(len(EDGES) + 1, dtype=torch.int64, device=device)
        self._ends: list[Tensor] = []

    def take(self, tensor: Tensor, scale: Tensor) -> None:
        """A parameter's values, times a scale."""
        values = tensor.flatten().double() * scale.to(tensor.device)
        bins = torch.bucketize(values, self._edges)
        self._counts += torch.bincount(bins, minlength=len(self._counts))
        ends = [values.min(), values.max(), values.sum(), values.square().sum()]
        self._ends.append(torch.stack(ends))

    def histogram(self, step: int, name: str) -> BlockHistogram:
        least, most, total, squares = torch.stack(self._ends).T
        return BlockHistogram(
            step, name, float(least.min()), float(most.max()), float(total.sum()),
            float(squares.sum()), self._counts.tolist(),
        )  # fmt: skip
