"""The metrics of a run, one row per logged step, as Parquet and as TensorBoard events.

The rows travel inside every checkpoint, so a resumed run continues its own log and a redone
step appears once. Publishing is the checkpoint's and the export's business.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

METRICS_FILE = "metrics.parquet"

_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.int64()),
        ("seconds", pa.float64()),
        ("loss", pa.float64()),
        ("validation_loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),
        ("param_norm", pa.float64()),
        ("images_per_second", pa.float64()),
        ("data_wait_share", pa.float64()),
        ("memory_bytes", pa.float64()),
    ]
)
METRIC_COLUMNS = frozenset(_SCHEMA.names)
_NOT_SCALARS = {"step", "epoch"}

Row = dict[str, Any]


class MetricsLog:
    """Rows by step, in order; a later row of the same step completes the earlier one."""

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = rows or []

    @classmethod
    def from_bytes(cls, data: bytes) -> MetricsLog:
        """Read back what `to_bytes` wrote."""
        return cls(pq.ParquetFile(io.BytesIO(data)).read().to_pylist())

    def add(self, step: int, **values: float | None) -> Row:
        """Add values at a step, which never goes backwards; returns the step's row."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append(dict.fromkeys(_SCHEMA.names) | {"step": step})
        self.rows[-1].update(values)
        return self.rows[-1]

    def last(self, name: str) -> float | None:
        """The newest value of a column; None when it has none."""
        return next((row[name] for row in reversed(self.rows) if row[name] is not None), None)

    def to_bytes(self) -> bytes:
        """The rows as a Parquet file."""
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(self.rows, schema=_SCHEMA), sink)
        return sink.getvalue()

    def write_tensorboard(self, directory: Path) -> Path:
        """Write all rows as one TensorBoard event file; returns its path."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(directory))
        for row in self.rows:
            for name, value in row.items():
                if name not in _NOT_SCALARS and value is not None:
                    writer.add_scalar(name, value, row["step"])
        writer.close()
        (written,) = directory.glob("events.out.tfevents.*")
        # A name without host and process id keeps the artifact the same wherever it was made.
        return written.rename(directory / "events.out.tfevents.0.darkroom")
