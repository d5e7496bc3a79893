"""What every batch verb says of its rows: the part that `predictions` and `pictures` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.jobs.artifacts.info import Info


@dataclass(frozen=True, kw_only=True)
class BatchInfo(Info):
    """What a batch run counts."""

    num_rows: int
    """Rows that were published."""
    num_rejected: int
    rejected: Mapping[str, int]
    """Rows that could not be used, by reason."""
    piece_rows: int
    figures: Mapping[str, Any] | None
    """What the run that published took: rows a second, how busy each stage was."""
