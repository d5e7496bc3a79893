"""What all ranks must decide alike: when to look, whether to stop, whether time is up.

Rank 0 decides from its clock, its heartbeat and Ray's notice (`preemption.py`), and broadcasts; the
number of steps until the next look travels along, so that ranks look about once a second
whatever a step costs and always at the same step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist

from darkroom.jobs.training.heartbeat import Heartbeat
from darkroom.jobs.training.preemption import WISHES, Preemption

_LOOK_EVERY_SECONDS = 1.0
_MAX_STEPS_BETWEEN_LOOKS = 1000
# Ray itself looks for notices every 5 s, and asking it takes every rank through an actor.
_LOOKS_BETWEEN_NOTICES = 5
_ENDED: tuple[Literal["fenced", "fault"] | None, ...] = (None, "fenced", "fault")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the ranks agreed on at a look."""

    stop: bool = False
    checkpoint: bool = False
    ended: Literal["fenced", "fault"] | None = None


class StepBarrier:
    """Looks at the wish to stop, the checkpoint clock and preemption, alike on every rank."""

    def __init__(
        self, heartbeat: Heartbeat, device: torch.device, checkpoint_minutes: float | None
    ) -> None:
        self._heartbeat = heartbeat
        self._device = device
        self._checkpoint_seconds = checkpoint_minutes and checkpoint_minutes * 60
        self._last_checkpoint = self._last_look = time.monotonic()
        self._last_step = self._next_step = 0
        self._num_looks = 0
        self._preemption = Preemption()
        self._holds = False

    def start(self, step: int) -> None:
        """Begin at `step`; the first look comes after one step."""
        self._last_step, self._next_step = step, step + 1

    def checkpoint_taken(self) -> None:
        """Restart the checkpoint clock; no step follows where a node is about to go."""
        self._last_checkpoint = time.monotonic()
        self._preemption.saved()
        if self._holds:
            self._holds = False
            with self._heartbeat.stopwatch.measuring("startup"):  # of which shutting down is a part
                self._preemption.hold()

    def at(self, step: int, *, ended: Literal["fenced", "fault"] | None) -> Decision:
        """The ranks' decision at this step; every rank calls it at every step.

        ended: on rank 0, why nothing can be published any more.
        """
        stops_alone = _is_alone() and self._heartbeat.stop_reason is not None
        if step < self._next_step and not stops_alone:
            return Decision()
        self._num_looks += 1
        if self._num_looks % _LOOKS_BETWEEN_NOTICES == 0:
            self._preemption.ask()
        now = time.monotonic()
        since_look = now - self._last_look
        steps_per_second = (step - self._last_step) / max(since_look, 1e-6)
        look_after = min(
            max(int(steps_per_second * _LOOK_EVERY_SECONDS), 1), _MAX_STEPS_BETWEEN_LOOKS
        )
        due = (
            self._checkpoint_seconds is not None
            and now - self._last_checkpoint >= self._checkpoint_seconds
        )
        wish = self._preemption.wish(seconds_between_looks=since_look)
        stop, save, wished, over, look_after = self._from_rank_zero(
            int(self._heartbeat.stop_reason is not None),
            int(due),
            WISHES.index(wish),
            _ENDED.index(ended),
            look_after,
        )
        self._last_look, self._last_step, self._next_step = now, step, step + look_after
        self._holds = WISHES[wished] == "save_and_hold"
        return Decision(stop=bool(stop), checkpoint=bool(save) or wished > 0, ended=_ENDED[over])

    def _from_rank_zero(self, *values: int) -> list[int]:
        if _is_alone():
            return list(values)
        shared = torch.tensor(values, dtype=torch.int64, device=self._device)
        dist.broadcast(shared, src=0)
        return [int(value) for value in shared.tolist()]


def _is_alone() -> bool:
    """Whether nobody else must agree."""
    return not dist.is_initialized() or dist.get_world_size() == 1
