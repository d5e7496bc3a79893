"""The section on the run's ledger: where each attempt's worker-seconds went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.report.attempts_plot import AttemptBar, attempts_plot
from darkroom.report.page import Cell, Chip, Section, Table
from darkroom.storage import Artifact

NAMES = {
    "startup": "start-up",
    "data_wait": "data wait",
    "useful": "useful steps",
    "redone": "redone steps",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "lost": "lost to faults",
}
"""The ledger's parts as the page calls them, in the order of the bars."""

_ENDINGS = {
    "completed": Chip("completed", "good"),
    "interrupted": Chip("stopped", "warn"),
    "worker_lost": Chip("a worker was lost", "bad"),
    "killed": Chip("killed", "bad"),
    "failed": Chip("failed", "bad"),
}


def attempts_section(model: Artifact) -> Section | None:
    """A bar and a row per attempt; None for a model without a ledger."""
    ledger = model.manifest.metadata.get("ledger")
    if not ledger:
        return None
    attempts = ledger["attempts"]
    bars = [
        AttemptBar(f"attempt {number}", attempt["seconds"])
        for number, attempt in enumerate(attempts, start=1)
    ]
    return Section(
        "attempts", "Goodput", [attempts_plot(bars, NAMES), _table(ledger)], _lead(ledger)
    )


def _lead(ledger: Mapping[str, Any]) -> str:
    num = ledger["num_attempts"]
    redone = ledger["steps_redone"]
    return (
        f"{ledger['goodput']:.1%} of {ledger['total_worker_seconds']:,.0f} worker-seconds went "
        f"into steps that no attempt had done before, in {num} attempt{'s' if num > 1 else ''}; "
        f"{redone:,} step{'' if redone == 1 else 's'} had to be done again. Waiting for other "
        f"workers within a step counts as the step."
    )


def _table(ledger: Mapping[str, Any]) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            str(number),
            _ENDINGS.get(attempt["ending"], Chip(str(attempt["ending"]))),
            f"{attempt['first_step']:,} to {attempt['last_step']:,}",
            *(f"{attempt['seconds'][part]:.1f}" for part in NAMES),
            f"{sum(attempt['seconds'].values()):.1f}",
        ]
        for number, attempt in enumerate(ledger["attempts"], start=1)
    ]
    if len(rows) > 1:
        totals = ledger["worker_seconds"]
        rows.append(
            ["all", "", "", *(f"{totals[part]:.1f}" for part in NAMES),
             f"{ledger['total_worker_seconds']:.1f}"]
        )  # fmt: skip
    return Table(
        columns=["attempt", "ended", "steps", *NAMES.values(), "all"],
        rows=rows,
        numbers=frozenset({"attempt", *NAMES.values(), "all"}),
        fixed=frozenset({"ended", "steps"}),
    )
