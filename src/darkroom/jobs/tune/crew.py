"""Who runs a study's errands, and how many at a time. In this process, one after the other: here.

`on_ray.py` has the other crew. Both give the same endings for the same errands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.study import Ending
from darkroom.jobs.tune.trial import Errand, run_errand

Watch = Callable[[Errand, int, float], bool]
"""(errand, step, validation loss) -> whether it shall stop."""

NextErrand = Callable[[], Errand | None]
"""The next errand that may start now; None when there is none, or none yet."""


class Crew(Protocol):
    """Runs errands as they are asked for."""

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        """Start errands until `following` has none; each ended one, in the order of their ends.

        An ending of None: its process was lost, and nobody can say how it went.
        Errors: InterruptedBySignal once all are stopped, and those of `run_errand`.
        """


class CrewOfOne:
    """This process."""

    def __init__(self, config: TuneConfig) -> None:
        self._config = config

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        """One errand after the other."""
        from darkroom.jobs.tune.trial import HALVED

        while (errand := following()) is not None:
            current = errand

            def see(step: int, loss: float | None, errand: Errand = current) -> str | None:
                return HALVED if loss is not None and watch(errand, step, loss) else None

            yield errand, run_errand(self._config, errand, see)
