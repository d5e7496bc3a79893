"""What a study of `darkroom tune` costs beside its runs: seconds per trial.

    python -m benchmarks.tune [--rounds 7] [--quick]

Runs of a tiny network on digits, in this process, without Ray. Two arms, interleaved:

1. study: trials of one study, from opening it to its published page;
2. runs: the same runs, with the same values, by `darkroom train`'s own job.

The overhead of a trial is (study - runs) / trials. Target: at most 5 s, and it is kept as a ratio
to those.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from pathlib import Path

from benchmarks.interleaved import Ratio, Report, after_each_round, arguments
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.tune_runs import study_config

from darkroom.jobs.by_name import job_of
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.job import run
from darkroom.jobs.tune.study import Study

TARGET_SECONDS = 5.0
STUDY, RUNS = "study", "runs"


class Arms:
    """Both ways, each time to new places."""

    def __init__(self, root: Path, data: str, num_trials: int) -> None:
        self._root, self._data, self._num_trials = root, data, num_trials
        self._numbers = itertools.count()

    def _config(self, name: str) -> TuneConfig:
        search = {"kind": "bayes", "num_trials": self._num_trials, "num_random": self._num_trials}
        place = str(self._root / f"{name}-{next(self._numbers)}")
        return study_config(self._data, place, search=search)

    def study(self) -> None:
        """A whole study."""
        run(self._config(STUDY))

    def runs(self) -> None:
        """Its runs: all values are drawn at random, so they are known before any has ended."""
        config = self._config(RUNS)
        drawn = Study(config.model_copy(update={"output": f"{config.output}-drawn"}), _nobody)
        for number in range(self._num_trials):
            suggestion = drawn.suggest()
            assert suggestion is not None
            job_of(config.verb)(config.run_config(suggestion.tried, f"{config.output}/{number}"))


def _nobody() -> None:
    """Owns the study."""


def main() -> None:
    given = arguments(__doc__).parse_args()
    num_trials = 2 if given.quick else 4
    report = Report("tune", details={"trials": num_trials})
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        root = Path(name)
        publish_digits(root / "data")
        arms = Arms(root, str(root / "data"), num_trials)
        sides = {STUDY: arms.study, RUNS: arms.runs}
        for timings in after_each_round(sides, num_rounds=given.rounds):
            pairs = zip(timings.seconds[STUDY], timings.seconds[RUNS], strict=True)
            beyond = [(study - runs) / num_trials for study, runs in pairs]
            report.details["seconds"] = timings.seconds
            report.details["overhead_seconds_per_trial"] = statistics.median(beyond)
            shares = [seconds / TARGET_SECONDS for seconds in beyond]
            report.add("tune: overhead of a trial / 5 s", Ratio.of(shares), at_most=1.0)
            report.add("tune: study / its runs", timings.ratio(STUDY, RUNS))


if __name__ == "__main__":
    main()
