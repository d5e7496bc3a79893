"""Named terms of the loss over the steps: their means for the log, and which became NaN first.

Sums stay on the device, so that no step waits for it. What talks to other ranks is called by all
ranks at the same step, and all have the same terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from darkroom.jobs.training.gradients import num_ranks

PREFIX = "loss/"
"""Of a term's column in the log."""
_NEVER = 2**62


class TermMeans:
    """The mean of each term since the last row of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def take(self, sums: Mapping[str, Tensor]) -> None:
        """A step's sums over this rank's rows."""
        for name, value in sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def means(self, num_rows: int) -> dict[str, float]:
        """By column; num_rows: of this rank since the last row. Begins anew."""
        if not self._sums:
            return {}
        names, sums = list(self._sums), list(self._sums.values())
        self._sums = {}
        shared = torch.stack([*sums, torch.full_like(sums[0], num_rows)])
        if num_ranks() > 1:
            dist.all_reduce(shared)
        *totals, rows = shared.tolist()
        return {f"{PREFIX}{name}": total / rows for name, total in zip(names, totals, strict=True)}


@dataclass(frozen=True, slots=True)
class FirstBad:
    """Where a run stopped being finite."""

    step: int
    terms: tuple[str, ...]
    """Terms of the loss that were NaN or infinite there; none where only the gradient was."""


class NonFinite:
    """The first step at which the gradient or a term was NaN or infinite."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._names: tuple[str, ...] = ()
        self._first = torch.full((1,), _NEVER, device=device)

    def note(self, step: int, *, grad_norm: Tensor, terms: Mapping[str, Tensor]) -> None:
        """A step that was taken. grad_norm: the same on all ranks; terms: this rank's."""
        if len(self._first) != 1 + len(terms):
            self._names = tuple(terms)
            self._first = torch.full((1 + len(terms),), _NEVER, device=self._device)
        values = torch.stack([grad_norm.double(), *terms.values()])
        fresh = (self._first == _NEVER) & ~torch.isfinite(values)
        self._first = torch.where(fresh, step, self._first)

    def first(self) -> FirstBad | None:
        """The same on every rank; None when all was finite."""
        first = self._first
        if self._names and num_ranks() > 1:
            first = first.clone()
            dist.all_reduce(first, op=dist.ReduceOp.MIN)
        steps = first.tolist()
        step = min(steps)
        if step == _NEVER:
            return None
        terms = (name for name, at in zip(self._names, steps[1:], strict=True) if at == step)
        return FirstBad(step, tuple(terms))
