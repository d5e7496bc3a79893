"""What a killed `darkroom train` costs when it is run again: beyond start-up, over the ideal.

    python -m benchmarks.resume [--rounds 7] [--quick]

    (resumed - start-up) / (remaining share * (whole - start-up))      target: at most 1.1

Each term is the time of a whole command, from its start to its exit, Ray and all: `whole` trains
the recipe `digits` from nothing, `start-up` trains one step of it, `resumed` goes on after a kill.
The kill is SIGKILL to the driver and everything that it started, as soon as the pointer names the
checkpoint at half of the steps. The remaining share is what the pointer says once all is dead, so
the steps since the last checkpoint, which its interval bounds, are not in this ratio; finding,
verifying, fetching and restoring the checkpoint are. Validation and checkpoints happen at the same
steps on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.digits_run import Digits, prepared_digits
from benchmarks.interleaved import Ratio, Report, Timings, after_each_round, arguments
from tests.helpers.training import pointer_of, started, wait_for_step

from darkroom.jobs.train.config import TrainConfig

AT_MOST = 1.1
NUM_STEPS, QUICK_STEPS = 800, 100
CHECKPOINTS = 8


def ratio_to_ideal(timings: Timings, shares: Sequence[float]) -> Ratio:
    """Seconds beyond start-up over what the remaining share of a whole run takes."""
    work = timings.beyond(whole="start-up", resumed="start-up")
    return work.scaled("whole", shares).ratio("resumed", "whole")


class Runs:
    """The arms; remembers the remaining shares that kills left."""

    def __init__(self, digits: Digits, num_steps: int) -> None:
        self._digits, self._num_steps = digits, num_steps
        self.shares: list[float] = []

    def config(self, num_steps: int) -> TrainConfig:
        """A run of so many steps, into a fresh output."""
        every = max(num_steps // CHECKPOINTS, 1)
        return self._digits.config(
            max_steps=num_steps,
            lr_schedule={"warmup_steps": 0},
            validation={"every_steps": every},
            checkpoint={"every_steps": every},
        )

    def whole(self) -> float:
        """Undisturbed."""
        return self._seconds(self.config(self._num_steps))

    def start_up(self) -> float:
        """One step: what is left is start-up, and the end."""
        return self._seconds(self.config(1))

    def resumed(self) -> float:
        """The second run, after a kill of the first."""
        config = self.config(self._num_steps)
        with started(config, self._digits.folder) as run:
            wait_for_step(run, config.output, self._num_steps // 2)
            run.kill_everything()
        state = pointer_of(config.output)
        assert state is not None
        self.shares.append(1 - state.step / self._num_steps)
        return self._seconds(config)

    def _seconds(self, config: TrainConfig) -> float:
        begun = time.perf_counter()
        with started(config, self._digits.folder) as run:
            assert run.wait() == 0, run.log.read_text()[-4000:]
        return time.perf_counter() - begun


def main() -> None:
    given = arguments(__doc__).parse_args()
    num_steps = QUICK_STEPS if given.quick else NUM_STEPS
    report = Report("resume")
    with prepared_digits() as digits:
        runs = Runs(digits, num_steps)
        arms = {"start-up": runs.start_up, "whole": runs.whole, "resumed": runs.resumed}
        for timings in after_each_round(arms, num_rounds=given.rounds, num_warmups=0):
            # A round's two turns: forward and backward.
            turns = zip(runs.shares[::2], runs.shares[1::2], strict=True)
            shares = [(a + b) / 2 for a, b in turns]
            report.details = {
                "steps": num_steps, "seconds": timings.seconds, "remaining_shares": shares
            }  # fmt: skip
            ratio = ratio_to_ideal(timings, shares)
            report.add("train: resumed / ideal, beyond start-up", ratio, at_most=AT_MOST)


if __name__ == "__main__":
    main()
