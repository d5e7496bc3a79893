"""Rows that cannot be used, the same in every verb, and the table of dead letters that lists them.

Each has one reason code, and a digest that groups equal tracebacks. A stage gives bad rows to
`Rejects` and leaves them out of what it returns; the rest go on.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from darkroom.jobs.parquet import parquet_bytes
from darkroom.messages import masked
from darkroom.storage import FileEntry, PartWriter

DEAD_LETTERS_NAME = "dead_letters/part-00000.parquet"
DEAD_LETTERS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "stage", "reason", "detail", "traceback")]
)
"""What the table holds. `id` is a row's id; of a file that never became a row its path, of a line
of a table file and line."""

_MAX_DETAIL = 300
_MAX_READ = 100_000


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not used, where, and why."""

    id: str
    stage: str
    reason: str
    """A code for counting: "truncated", "prompt_too_long"."""
    detail: str
    traceback: str | None = None
    """First 16 hex digits of the traceback's digest: equal for the same fault at the same place."""

    def __post_init__(self) -> None:
        # However one is made, it is published.
        object.__setattr__(self, "detail", plain_text(self.detail))


class Rejects:
    """Collects the rows that one stage rejects of one piece."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.found: list[Reject] = []

    def add(
        self, row_id: str, reason: str, detail: str, error: BaseException | None = None
    ) -> None:
        """Reject a row for what it is; `error` is what was raised about it, if anything."""
        digest = None if error is None else traceback_digest(error)
        self.found.append(Reject(row_id, self._stage, reason, detail, digest))

    def add_error(self, row_id: str, reason: str, error: BaseException) -> None:
        """Reject a row for what it raised."""
        self.add(row_id, reason, f"{type(error).__name__}: {error}", error)


def plain_text(text: str, limit: int = _MAX_DETAIL) -> str:
    """One bounded line without secrets, lone surrogates or control characters."""
    text = masked(text[:_MAX_READ])[: 4 * limit]
    text = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:limit]


def traceback_digest(error: BaseException) -> str:
    """Names the place that raised, on every machine alike: files by name, no line's content."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{PurePath(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in frames]
    text = "\n".join([type(error).__qualname__, *where])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dead_letter_table(rejects: Sequence[Reject]) -> pa.Table:
    """The dead-letter table, in the order given."""
    rows: list[dict[str, Any]] = [asdict(reject) for reject in rejects]
    return pa.Table.from_pylist(rows, schema=DEAD_LETTERS_SCHEMA)


def write_dead_letters(rejects: Sequence[Reject], writer: PartWriter) -> list[FileEntry]:
    """The table as a file of the artifact; none where nothing was rejected."""
    if not rejects:
        return []
    data = parquet_bytes(dead_letter_table(rejects))
    return [writer.write_bytes(DEAD_LETTERS_NAME, data, rows=len(rejects))]
