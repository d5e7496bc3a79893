"""Why a picture file was not used: one reason code each, the same in every verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa

from darkroom.jobs.batch.part import parquet_bytes
from darkroom.messages import one_line
from darkroom.storage import FileEntry, PartWriter

DEAD_LETTERS_NAME = "dead_letters/part-00000.parquet"
DEAD_SCHEMA = pa.schema([(name, pa.string()) for name in ("path", "reason", "detail")])
"""What the dead-letter table holds."""

Reason = Literal[
    "empty",
    "too_many_bytes",
    "not_an_image",
    "unsupported_format",
    "too_many_pixels",
    "too_small",
    "animated",
    "truncated",
    "corrupt",
    "no_class",
    "bad_name",
    "unreadable",
    "no_caption",
    "missing",
]
"""Why a file became a dead letter; docs/verbs/prepare.md explains each."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A file that was not used, and why."""

    path: str
    reason: Reason
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", one_line(self.detail, 300))  # it is published


def write_dead_letters(letters: Sequence[DeadLetter], writer: PartWriter) -> FileEntry:
    """The table of them, sorted by path."""
    rows = [asdict(letter) for letter in sorted(letters, key=lambda letter: letter.path)]
    data = parquet_bytes(pa.Table.from_pylist(rows, schema=DEAD_SCHEMA))
    return writer.write_bytes(DEAD_LETTERS_NAME, data, rows=len(rows))
