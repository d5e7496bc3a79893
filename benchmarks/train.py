"""A step of `darkroom train` over a step of the same training written by hand.

    python -m benchmarks.train [--rounds 7] [--quick]

1. One worker, over a bare torch loop in one process. Target: at most 1.05.
2. Two workers, over the same loop under torchrun with DistributedDataParallel on gloo. The same.
   Both also over the same loop beside a local Ray that does nothing, without a target: that
   takes off what Ray's own processes cost by sharing the cores.
3. The bare loop with `compute.deterministic` over the same without it, in one process. No target.

Both sides train the recipe `digits` on the same real data with the same network, batch, AdamW,
clipping, EMA, precision, deterministic kernels and one thread per worker (`bare_loop.py`). Both
log every 20 steps: loss and gradient norm by hand; ours also norms, rates and memory, posts them
to the driver, asks about signals and preemption each second, and feeds its batches from S3
through its own stream. All of that stays in our step. Validation and checkpoints are counted on
neither side: ours makes one of each, after its last step, which no interval holds.

A step's time is what the published run's own log says (`images_per_second` of each interval), and
what the bare loop's clock says for the same intervals. The mean over all intervals after the
warm-up counts, so start-up and the first steps do not. Each turn is a run of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.cpu_split import cpu_split
from benchmarks.digits_run import Digits, prepared_digits
from benchmarks.interleaved import Report, after_each_round, arguments
from tests.helpers.training import complete, pointer_of, started

from darkroom.jobs.session import ray_session
from darkroom.jobs.train.config import TrainConfig

AT_MOST = 1.05
LOG_EVERY = 20
WARM_UP_STEPS = 40
MEASURED_STEPS, QUICK_STEPS = 160, 60
RUN_SECONDS = 480
BARE, BESIDE_RAY = "bare", "bare beside Ray"


def steady(interval_seconds: Sequence[float]) -> float:
    """Seconds of a step: the mean of the intervals after the warm-up."""
    return statistics.fmean(interval_seconds[WARM_UP_STEPS // LOG_EVERY :])


def logged_seconds(images_per_second: Sequence[float | None], batch_size: int) -> list[float]:
    """Seconds of a step in each interval of a published run's log."""
    return [batch_size / rate for rate in images_per_second if rate is not None]


class Comparison:
    """The two sides of one comparison."""

    def __init__(
        self, digits: Digits, *, num_workers: int, num_steps: int, deterministic: bool = True
    ) -> None:
        self._digits, self._num_workers, self._num_steps = digits, num_workers, num_steps
        self._deterministic = deterministic
        self.data_wait_shares: list[float] = []
        self.processor_seconds: defaultdict[str, list[float]] = defaultdict(list)
        """Of a step of a bare loop's first rank, by arm."""

    def config(self) -> TrainConfig:
        """One run's."""
        max_steps = WARM_UP_STEPS + self._num_steps
        return self._digits.config(
            max_steps=max_steps,
            log_every_steps=LOG_EVERY,
            lr_schedule={"warmup_steps": WARM_UP_STEPS},
            validation={"every_steps": max_steps},
            checkpoint={"every_steps": None},
            compute={"num_threads": 1, "deterministic": self._deterministic},
            workers={"num_workers": self._num_workers},
        )

    def darkroom(self) -> float:
        """Seconds of our step."""
        config = self.config()
        log = complete(config, self._digits.folder).read_table("metrics.parquet")
        waits = [share for share in log["data_wait_share"].to_pylist() if share is not None]
        self.data_wait_shares.append(steady(waits))
        return steady(logged_seconds(log["images_per_second"].to_pylist(), config.batch_size))

    def bare(self, arm: str = BARE) -> float:
        """Seconds of the bare loop's step."""
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        torchrun.append(f"--nproc-per-node={self._num_workers}")
        launcher = torchrun if self._num_workers > 1 else []
        found = self._program("benchmarks.bare_loop", launcher)
        self.processor_seconds[arm].append(steady(found["processor_seconds"]))
        return steady(found["seconds"])

    def bare_beside_ray(self) -> float:
        """The same while a local Ray idles."""
        with ray_session():
            return self.bare(BESIDE_RAY)

    def profile(self) -> dict[str, Any]:
        """What a step of either side consists of (`train_profile.py`)."""
        found: dict[str, Any] = self._program("benchmarks.train_profile")
        return found

    def _program(self, module: str, launcher: Sequence[str] = ()) -> Any:
        """The result of a program that takes a config's file and a result's."""
        folder = self._digits.folder
        config_file, result_file = folder / "program.json", folder / "result.json"
        config_file.write_text(json.dumps(self.config().to_dict()))
        subprocess.run(
            [sys.executable, *launcher, "-m", module, str(config_file), str(result_file)],
            check=True,
            timeout=RUN_SECONDS,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return json.loads(result_file.read_text())

    def cores(self) -> dict[str, float]:
        """Which processes of one more run of ours take how many cores while it trains."""
        config = self.config()

        def trained() -> bool:
            state = pointer_of(config.output)
            return state is not None and state.step == config.max_steps

        with started(config, self._digits.folder) as run:
            return cpu_split(run, "started at step", trained)


def compare(digits: Digits, report: Report, *, num_workers: int, rounds: int, steps: int) -> None:
    """Measure one comparison into the report."""
    ours = Comparison(digits, num_workers=num_workers, num_steps=steps)
    other = "a bare torch loop" if num_workers == 1 else f"torchrun DDP, {num_workers} workers"
    arms = {BARE: ours.bare, BESIDE_RAY: ours.bare_beside_ray, "darkroom": ours.darkroom}
    met = None
    for timings in after_each_round(arms, num_rounds=rounds, num_warmups=0):
        cores, seconds = ours.cores(), statistics.median(timings.seconds["darkroom"])
        report.details[other] = {
            "step_seconds": timings.seconds,
            "processor_seconds_of_a_worker": {
                **{arm: statistics.median(found) for arm, found in ours.processor_seconds.items()},
                "darkroom": cores["ray::RayTrainWorker"] / num_workers * seconds,
            },
            "data_wait_share": statistics.median(ours.data_wait_shares),
            "cores_by_process": cores,
        }
        ratio = timings.ratio("darkroom", BARE)
        met = report.add(f"train: step / step of {other}", ratio, at_most=AT_MOST)
        beside_ray = timings.ratio("darkroom", BESIDE_RAY)
        report.add(f"train: step / step of {other}, beside an idle Ray", beside_ray)
    if not met and num_workers == 1:
        report.details[other]["profile"] = ours.profile()


def compare_deterministic(digits: Digits, report: Report, *, rounds: int, steps: int) -> None:
    """What deterministic kernels cost, by the bare loop with and without them."""
    arms = {
        name: Comparison(digits, num_workers=1, num_steps=steps, deterministic=wanted).bare
        for name, wanted in (("free", False), ("deterministic", True))
    }
    for timings in after_each_round(arms, num_rounds=rounds, num_warmups=0):
        report.details["compute.deterministic"] = {"step_seconds": timings.seconds}
        report.add("train: deterministic step / step", timings.ratio("deterministic", "free"))


def main() -> None:
    options = arguments(__doc__)
    options.add_argument(
        "--only", choices=["1", "2", "deterministic"], help="workers, or the cost of determinism"
    )
    given = options.parse_args()
    steps = QUICK_STEPS if given.quick else MEASURED_STEPS
    report = Report("train", details={"measured_steps": steps})
    with prepared_digits() as digits:
        for num_workers in (1, 2):
            if given.only in (None, str(num_workers)):
                compare(digits, report, num_workers=num_workers, rounds=given.rounds, steps=steps)
        if given.only in (None, "deterministic"):
            compare_deterministic(digits, report, rounds=given.rounds, steps=steps)
    report.write()


if __name__ == "__main__":
    main()
