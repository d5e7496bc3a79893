"""What the engine counts, for metrics and for those who let requests in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Counts:
    """Since the engine was made. Written by the drawing thread alone."""

    drawn: int = 0
    cancelled: int = 0
    failed: int = 0
    out_of_memory: int = 0
    """Batches that ran out of memory."""
    begun: int = 0
    """Pictures that took their first step."""
    waited_seconds: float = 0.0
    """What these waited for it, in all."""
    steps: int = 0
    """Calls of a network."""
    rows: int = 0
    """Pictures moved on by them: rows / steps is how full batches are."""
    step_seconds: float = 0.0
    """Spent in steps."""
    busy_seconds: float = 0.0
    """Spent in all drawing: beginnings, steps, previews, decoding."""

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
