"""A row of texts, and a row that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Row = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was set aside."""

    where: str
    """File and line, or file and row."""
    reason: str
    detail: str
    stage: str = "read"


Found = Iterator[tuple[str, Sequence[str | None] | BadRow]]
"""Where a row stands, and its values in the header's order."""
