"""Pictures that a run draws on its way: fixed prompts and seeds, at some of its steps.

They travel inside every checkpoint beside the metrics, so a resumed run continues its own, and a
step that is done again replaces what it drew. The model's artifact has them all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("image", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """One picture of one prompt and seed."""

    prompt: str
    seed: int
    image: bytes
    """PNG."""


@dataclass(frozen=True, slots=True)
class LoggedPicture(DrawnPicture):
    """And the optimizer step whose averaged weights have drawn it; 0 is before the first."""

    step: int


class PictureLog:
    """Pictures by step, in order."""

    def __init__(self, pictures: Iterable[LoggedPicture] = ()) -> None:
        self.pictures = list(pictures)

    @classmethod
    def from_bytes(cls, data: bytes) -> PictureLog:
        """Read back what `to_bytes` wrote."""
        rows = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
        return cls(LoggedPicture(**row) for row in rows)

    def add(self, step: int, pictures: Iterable[DrawnPicture]) -> None:
        """What was drawn at a step, in place of what was drawn there before."""
        kept = [each for each in self.pictures if each.step < step]
        self.pictures = [*kept, *(LoggedPicture(**asdict(each), step=step) for each in pictures)]

    def to_bytes(self) -> bytes:
        """The pictures as a Parquet file."""
        rows = [asdict(each) for each in self.pictures]
        sink = io.BytesIO()
        # PNG is compressed already.
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink, compression="none")
        return sink.getvalue()
