"""The metrics of a run, one row per logged step, as Parquet and as TensorBoard events.

With them go what was drawn on the way (`picture_log.py`) and histograms (`histogram_log.py`). All
travel inside every checkpoint, so a resumed run continues its own log and a redone step appears
once. Publishing is the checkpoint's and the export's business.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from darkroom.jobs.artifacts.model import HISTOGRAMS_FILE, METRICS_FILE, PICTURES_FILE
from darkroom.jobs.training.histogram_log import EDGES, HistogramLog
from darkroom.jobs.training.picture_log import PictureLog

METRIC_COLUMNS = (
    *("step", "epoch", "seconds", "loss", "validation_loss", "learning_rate", "grad_norm"),
    *("param_norm", "images_per_second", "data_wait_share", "memory_bytes", "micro_batch_size"),
)
"""What every log has; a verb's own columns stand behind them, by name."""
_WHOLE = {"step", "epoch"}

Row = dict[str, Any]


class MetricsLog:
    """Rows by step, in order; a later row of the same step completes the earlier one."""

    def __init__(
        self,
        rows: list[Row] | None = None,
        pictures: PictureLog | None = None,
        histograms: HistogramLog | None = None,
    ) -> None:
        self.rows: list[Row] = rows or []
        self.drawn = pictures or PictureLog()
        self.spread = histograms or HistogramLog()

    @classmethod
    def read(cls, folder: Path) -> MetricsLog:
        """Read back what `write` wrote."""
        log = cls.from_bytes((folder / METRICS_FILE).read_bytes())
        if (pictures := folder / PICTURES_FILE).exists():
            log.drawn = PictureLog.from_bytes(pictures.read_bytes())
        if (histograms := folder / HISTOGRAMS_FILE).exists():
            log.spread = HistogramLog.from_bytes(histograms.read_bytes())
        return log

    def write(self, folder: Path) -> None:
        """Write the files of a checkpoint or a model; pictures and histograms where there are
        some."""
        (folder / METRICS_FILE).write_bytes(self.to_bytes())
        if self.drawn.pictures:
            (folder / PICTURES_FILE).write_bytes(self.drawn.to_bytes())
        if self.spread.histograms:
            (folder / HISTOGRAMS_FILE).write_bytes(self.spread.to_bytes())

    def copy(self) -> MetricsLog:
        """As it is now."""
        histograms = HistogramLog(self.spread.histograms)
        return MetricsLog(list(self.rows), PictureLog(self.drawn.pictures), histograms)

    @classmethod
    def from_bytes(cls, data: bytes) -> MetricsLog:
        """Read back what `to_bytes` wrote."""
        return cls(pq.ParquetFile(io.BytesIO(data)).read().to_pylist())

    def add(self, step: int, **values: float | None) -> Row:
        """Add values at a step, which never goes backwards; returns the step's row."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append(dict.fromkeys(METRIC_COLUMNS) | {"step": step})
        self.rows[-1].update(values)
        return self.rows[-1]

    def last(self, name: str) -> float | None:
        """The newest value of a column; None when it has none."""
        return next((row[name] for row in reversed(self.rows) if row.get(name) is not None), None)

    def to_bytes(self) -> bytes:
        """The rows as a Parquet file."""
        own = sorted({name for row in self.rows for name in row} - set(METRIC_COLUMNS))
        schema = pa.schema(
            (name, pa.int64() if name in _WHOLE else pa.float64())
            for name in (*METRIC_COLUMNS, *own)
        )
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(self.rows, schema=schema), sink)
        return sink.getvalue()

    def write_tensorboard(self, directory: Path) -> Path:
        """Write rows, pictures and histograms as one TensorBoard event file; returns its path."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(directory))
        for row in self.rows:
            for name, value in row.items():
                if name not in _WHOLE and value is not None:
                    writer.add_scalar(name, value, row["step"])
        for drawn in self.drawn.pictures:
            pixels = np.asarray(Image.open(io.BytesIO(drawn.image)).convert("RGB"))
            tag = f"{drawn.prompt}/seed {drawn.seed}"
            writer.add_image(tag, pixels, drawn.step, dataformats="HWC")
        limits = [*EDGES.tolist(), float(np.finfo(np.float64).max)]
        for each in self.spread.histograms:
            writer.add_histogram_raw(
                each.name, each.least, each.most, each.num, each.sum, each.sum_squares, limits,
                each.counts, each.step,
            )  # fmt: skip
        writer.close()
        (written,) = directory.glob("events.out.tfevents.*")
        # A name without host and process id keeps the artifact the same wherever it was made.
        return written.rename(directory / "events.out.tfevents.0.darkroom")
