"""A study that is killed goes on: nothing lost, nothing twice, the same suggestions.

The runs are a formula here; everything between them is real: Optuna, the journal, the store.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.config import build_config
from darkroom.errors import FencedError, InterruptedBySignal
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import NextErrand, Watch
from darkroom.jobs.tune.job import run_trials
from darkroom.jobs.tune.study import EndedTrial, Ending, Study
from darkroom.jobs.tune.trial import Errand
from darkroom.storage import RunPointer
from darkroom.temporary import temporary_folder

SPACE = {
    "optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": {"kind": "int", "low": 16, "high": 128, "step": 16},
    "lr_schedule.kind": {"kind": "choice", "values": ["constant", "cosine"]},
    "lr_schedule.final_scale": {
        "kind": "float", "low": 0.0, "high": 0.5, "when": {"lr_schedule.kind": ["cosine"]},
    },
}  # fmt: skip


def study_config(output: str, **changes: Any) -> TuneConfig:
    values = {
        "input": "/data",
        "output": output,
        "run": {"max_steps": 90, "lr_schedule": {"warmup_steps": 5}, "checkpoint": {
            "every_steps": 10}, "validation": {"every_steps": 10}},
        "space": SPACE,
        "search": {"kind": "bayes", "num_trials": 12, "num_random": 5},
        "halving": {"first_rung": 10, "reduction_factor": 3},
    }  # fmt: skip
    return build_config(TuneConfig, {**values, **changes})


class KilledError(BaseException):
    """As SIGKILL: nothing in the product catches it."""


class FormulaCrew:
    """Runs errands one after the other, by a formula; ends when a number of events is over."""

    def __init__(self, *, events: int | None = None, fails: tuple[int, ...] = ()) -> None:
        self._left = math.inf if events is None else events
        self._fails = fails
        self.ran: list[str] = []

    def _event(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise KilledError

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        while (errand := following()) is not None:
            self.ran.append(errand.name)
            self._event()
            yield errand, self._ending(errand, watch)
            self._event()

    def _ending(self, errand: Errand, watch: Watch) -> Ending:
        rate = math.log10(errand.tried["optimizer.learning_rate"])
        worth = (rate + 2.5) ** 2 + errand.tried["batch_size"] / 1000
        for step in range(0, 91, 10):
            self._event()
            if watch(errand, step, worth + 1 / (step + 1)):
                return Ending(state="stopped", step=step, worker_seconds=1.0)
        if int(errand.name.split("/")[1]) in self._fails:
            return Ending(state="failed", error="as it was told", worker_seconds=1.0)
        return Ending(state="complete", value=worth, step=90, worker_seconds=3.0)


def go_on(config: TuneConfig, **how: Any) -> Study:
    """One start of the driver, to the end or to its death."""
    study = Study(config, lambda: None)
    run_trials(study, config, FormulaCrew(**how))
    return study


def shown(trials: list[EndedTrial]) -> list[Any]:
    """What must not depend on kills."""
    return [
        (trial.number, trial.tried, trial.ending.state, trial.ending.value, trial.seen)
        for trial in trials
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return shown(go_on(study_config(str(tmp_path_factory.mktemp("study"))), fails=(3,)).ended())


def test_it_searches_stops_and_records(undisturbed: list[Any], tmp_path: Path) -> None:
    states = [state for _, _, state, _, _ in undisturbed]
    assert len(states) == 12
    assert states[3] in ("failed", "stopped")
    assert states.count("stopped") >= 2
    study = go_on(study_config(str(tmp_path), halving=None), fails=(3,))
    assert [trial.ending.state for trial in study.ended()].count("complete") == 11
    best = study.best()
    assert best is not None
    random = [trial.ending.value for trial in study.ended()[:5] if trial.ending.value is not None]
    assert best.ending.value is not None
    assert best.ending.value < min(random), "the estimator improves on what was drawn at random"
    shares = study.importance()
    assert max(shares, key=lambda name: shares[name]) == "optimizer.learning_rate"


@settings(max_examples=5)
@given(deaths=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_killed_anywhere_it_ends_as_the_undisturbed_one(
    deaths: list[int], undisturbed: list[Any]
) -> None:
    with temporary_folder() as folder:
        config = study_config(str(folder))
        for events in deaths:
            try:
                go_on(config, events=events, fails=(3,))
            except KilledError:
                continue
        assert shown(go_on(config, fails=(3,)).ended()) == undisturbed


def test_killed_between_any_two_writes_it_ends_as_the_undisturbed_one(
    undisturbed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study_config(str(tmp_path))
    from darkroom.jobs.tune.journal import StudyJournal

    write = StudyJournal._append
    left = [0]

    def dying(journal: StudyJournal, lines: list[Any], *, alone: bool) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        write(journal, lines, alone=alone)

    monkeypatch.setattr(StudyJournal, "_append", dying)
    for _ in range(200):  # each start writes two entries, and dies
        left[0] = 2
        try:
            study = go_on(config.model_copy(update={"max_starts": 1000}), fails=(3,))
        except KilledError:
            continue
        break
    assert shown(study.ended()) == undisturbed


def test_a_trial_that_always_takes_its_process_down_is_given_up(tmp_path: Path) -> None:
    config = study_config(str(tmp_path), max_starts=2, search={"kind": "bayes", "num_trials": 2})
    for _ in range(2):
        with pytest.raises(KilledError):
            go_on(config, events=0)
    ended = go_on(config).ended()
    assert [trial.ending.state for trial in ended] == ["failed", "complete"]
    assert ended[0].ending.error == "its process was lost 2 times"


def test_a_stop_on_request_counts_no_start(tmp_path: Path) -> None:
    config = study_config(str(tmp_path), max_starts=1)

    class Stopped(FormulaCrew):
        def _ending(self, errand: Errand, watch: Watch) -> Ending:  # noqa: ARG002
            raise InterruptedBySignal("stopped at step 3")

    study = Study(config, lambda: None)
    with pytest.raises(InterruptedBySignal):
        run_trials(study, config, Stopped())
    assert go_on(config).ended()[0].ending.state == "complete"


def test_a_lost_process_is_started_again(tmp_path: Path) -> None:
    config = study_config(str(tmp_path), search={"kind": "bayes", "num_trials": 1})
    lost = [2]

    class Losing(FormulaCrew):
        def work(
            self, following: NextErrand, watch: Watch
        ) -> Iterator[tuple[Errand, Ending | None]]:
            for errand, ending in super().work(following, watch):
                lost[0] -= 1
                yield errand, None if lost[0] >= 0 else ending

    study, crew = Study(config, lambda: None), Losing()
    run_trials(study, config, crew)
    assert crew.ran == ["trials/0"] * 3
    assert [(trial.ending.state, trial.num_starts) for trial in study.ended()] == [("complete", 3)]


def test_a_grid_runs_every_point_once_whatever_dies(tmp_path: Path) -> None:
    config = study_config(
        str(tmp_path), halving=None, search={"kind": "grid"},
        space={
            "optimizer.learning_rate": {"kind": "choice", "values": [1e-3, 1e-2, 1e-1]},
            "batch_size": {"kind": "choice", "values": [16, 32]},
        },
    )  # fmt: skip
    with pytest.raises(KilledError):
        go_on(config, events=25, fails=(0,))
    trials = go_on(config, fails=(0,)).ended()
    assert len(trials) == 6
    assert len({repr(trial.tried) for trial in trials}) == 6
    assert [trial.ending.state for trial in trials].count("failed") == 1


def test_the_rungs_are_those_of_the_first_start(tmp_path: Path) -> None:
    config = study_config(str(tmp_path))
    assert Study(config, lambda: None).rungs == (10, 30)
    changed = config.model_copy(update={"halving": None})
    assert Study(changed, lambda: None).rungs == (10, 30)


def test_an_older_driver_writes_nothing_more(tmp_path: Path) -> None:
    config = study_config(str(tmp_path))
    RunPointer.claim(config.output, owner="old", config=config)

    def owns() -> None:
        RunPointer.attach(config.output, owner="old")

    old = Study(config, owns)
    old.suggest()
    RunPointer.claim(config.output, owner="new", config=config)
    with pytest.raises(FencedError, match="must stop"):
        old.suggest()
    assert [each.number for each in Study(config, lambda: None).unfinished()] == [0]


def test_a_larger_figure_wins_and_a_smaller_loss_goes_on(tmp_path: Path) -> None:
    config = study_config(
        str(tmp_path), objective={"name": "class_accuracy"},
        search={"kind": "bayes", "num_trials": 4},
    )  # fmt: skip
    study = Study(config, lambda: None)
    for loss in (0.5, 0.1, 0.9):
        suggestion = study.suggest()
        assert suggestion is not None
        stopped = study.see(suggestion.number, 10, loss)
        assert stopped == (loss == 0.9)
        study.end(suggestion.number, Ending(state="complete", value=1 - loss, step=90))
    best = study.best()
    assert best is not None
    assert best.number == 1
    assert study.ended()[2].seen == {10: 0.9}
