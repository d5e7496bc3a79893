"""What a run took: rows a second, how busy each stage was, and which one held the others up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """Figures of one run of the pipeline; of a resumed one, of its own share of the rows."""

    num_rows: int
    """Rows of the whole input."""
    num_resumed: int
    """Rows that an earlier run had committed."""
    num_rejected: int
    seconds: float
    busy_seconds: Mapping[str, float]
    """Work by stage, over all of its workers."""
    utilization: Mapping[str, float]
    """Share of its workers' time that a stage worked, from the first piece to the last."""

    @property
    def rows_per_second(self) -> float:
        """Of this run alone, its start-up included."""
        return (self.num_rows - self.num_resumed) / max(self.seconds, 1e-9)

    @property
    def bottleneck(self) -> str | None:
        """The stage whose workers had the least rest; None when nothing was left to do."""
        busiest = max(self.utilization, key=lambda name: self.utilization[name], default=None)
        return busiest if self.num_rows > self.num_resumed else None

    def line(self, unit: str) -> str:
        """One line for the end of a run."""
        if self.bottleneck is None:
            return f"{self.num_rows} {unit}: nothing was left to do"
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.utilization.items())
        resumed = f" ({self.num_resumed} had been done before)" if self.num_resumed else ""
        return (
            f"{self.num_rows - self.num_resumed} {unit}{resumed} in {self.seconds:.1f} s: "
            f"{self.rows_per_second:.2f} {unit}/s, bottleneck {self.bottleneck} (busy: {shares})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, rounded for people."""
        return {
            "num_rows": self.num_rows,
            "num_resumed": self.num_resumed,
            "num_rejected": self.num_rejected,
            "seconds": round(self.seconds, 2),
            "rows_per_second": round(self.rows_per_second, 3),
            "busy_seconds": {name: round(value, 3) for name, value in self.busy_seconds.items()},
            "utilization": {name: round(value, 3) for name, value in self.utilization.items()},
            "bottleneck": self.bottleneck,
        }


def utilization(
    busy_seconds: Mapping[str, float], num_workers: Mapping[str, int], seconds: float
) -> dict[str, float]:
    """Busy share of each stage's workers over `seconds`."""
    return {
        name: busy / max(seconds * num_workers.get(name, 1), 1e-9)
        for name, busy in busy_seconds.items()
    }
