"""The table of a sampling run: one row per picture, with everything needed to draw it again.

Rows are written as they come, in the order of their index, so memory does not grow with their
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.drawer import DrawnImage

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
        ("seed", pa.uint64()),
        ("sampler", pa.string()),
        ("num_steps", pa.int64()),
        ("guidance_scale", pa.float64()),
        ("eta", pa.float64()),
        ("file_name", pa.string()),
        ("sha256", pa.string()),
        ("image", pa.binary()),
    ]
)


class SampleTable:
    """`samples.parquet`, open for writing."""

    def __init__(self, path: Path, config: SampleConfig) -> None:
        self._config = config
        self._writer = pq.ParquetWriter(path, SCHEMA, write_page_checksum=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def add(self, images: Sequence[DrawnImage]) -> None:
        """Append one row group."""
        self._writer.write_table(
            pa.Table.from_pylist([self._row(image) for image in images], schema=SCHEMA)
        )

    def _row(self, image: DrawnImage) -> dict[str, object]:
        planned, config = image.planned, self._config
        return {
            "index": planned.index,
            "id": planned.id,
            "label": planned.label,
            "class_name": planned.class_name,
            "seed": planned.seed,
            "sampler": config.sampler,
            "num_steps": config.num_steps,
            "guidance_scale": config.guidance_scale,
            "eta": config.eta,
            "file_name": planned.file_name,
            "sha256": image.entry.sha256,
            "image": image.png,
        }
