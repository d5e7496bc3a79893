"""A row of texts, and a row that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from darkroom.jobs.rejects import Reject, plain_text

Row = dict[str, str | None]


Found = Iterator[tuple[str, Sequence[str | None] | Reject]]
"""Where a row stands, and its values in the header's order."""


def set_aside(place: str, reason: str, detail: str, *, stage: str = "read") -> Reject:
    """A row that has no id yet is named by its place: file and line, or file and row."""
    return Reject(plain_text(place), stage, reason, detail)
