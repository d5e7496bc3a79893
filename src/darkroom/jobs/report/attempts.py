"""The section on the run's goodput: where each attempt's worker-seconds went."""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.jobs.artifacts.model import Goodput
from darkroom.pages.attempts_plot import AttemptBar, attempts_plot
from darkroom.pages.page import Cell, Chip, Section, Table

NAMES = {
    "startup": "start-up",
    "data_wait": "data wait",
    "useful": "useful steps",
    "redone": "redone steps",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "lost": "lost to faults",
}
"""Its parts as the page calls them, in the order of the bars."""

_ENDINGS = {
    "completed": Chip("completed", "good"),
    "interrupted": Chip("stopped", "warn"),
    "worker_lost": Chip("a worker was lost", "bad"),
    "killed": Chip("killed", "bad"),
    "failed": Chip("failed", "bad"),
}


def attempts_section(goodput: Goodput | None) -> Section | None:
    """A bar and a row per attempt; None for a model that does not tell."""
    if goodput is None:
        return None
    bars = [
        AttemptBar(f"attempt {number}", attempt.seconds)
        for number, attempt in enumerate(goodput.attempts, start=1)
    ]
    return Section(
        "attempts", "Goodput", [attempts_plot(bars, NAMES), _table(goodput)], _lead(goodput)
    )


def _lead(run: Goodput) -> str:
    num, redone = run.num_attempts, run.steps_redone
    return (
        f"{run.goodput:.1%} of {run.total_worker_seconds:,.0f} worker-seconds went "
        f"into steps that no attempt had done before, in {num} attempt{'s' if num > 1 else ''}; "
        f"{redone:,} step{'' if redone == 1 else 's'} had to be done again. Waiting for other "
        f"workers within a step counts as the step."
    )


def _table(run: Goodput) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            str(number),
            _ENDINGS.get(str(attempt.ending), Chip(str(attempt.ending))),
            f"{attempt.first_step:,} to {attempt.last_step:,}",
            *(f"{attempt.seconds[part]:.1f}" for part in NAMES),
            f"{sum(attempt.seconds.values()):.1f}",
        ]
        for number, attempt in enumerate(run.attempts, start=1)
    ]
    if len(rows) > 1:
        totals = (f"{run.worker_seconds[part]:.1f}" for part in NAMES)
        rows.append(["all", "", "", *totals, f"{run.total_worker_seconds:.1f}"])
    return Table(
        columns=["attempt", "ended", "steps", *NAMES.values(), "all"],
        rows=rows,
        numbers=frozenset({"attempt", *NAMES.values(), "all"}),
        fixed=frozenset({"ended", "steps"}),
    )
