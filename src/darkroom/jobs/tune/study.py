"""A study as its journal has it: which trials there are, what was suggested, seen and decided.

One driver writes, the one that has claimed the study. Every change is one entry: a trial with all
its values, a value with the decision that it leads to, an ending with what it cost. So a driver
that is killed leaves whole steps, and the next one goes on from them.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as State

from darkroom.jobs.artifacts.study import TrialState
from darkroom.jobs.measuring.names import larger_is_better
from darkroom.jobs.rejects import plain_text
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.halving import pruner_of, rungs_of
from darkroom.jobs.tune.journal import StudyJournal
from darkroom.jobs.tune.sampling import PointSampler, sampler_for, suggest, values_of
from darkroom.jobs.tune.settings import at
from darkroom.jobs.tune.space import grid_points
from darkroom.messages import MAX_MESSAGE
from darkroom.storage import open_store

logger = logging.getLogger(__name__)

_NAME = "darkroom"
_STATES: dict[State, TrialState] = {
    State.COMPLETE: "complete", State.PRUNED: "stopped", State.FAIL: "failed",
}  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """A trial that is to be run."""

    number: int
    tried: Mapping[str, Any]
    """Field -> value."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial's run ended."""

    state: TrialState
    value: float | None = None
    """The objective; only of a complete one."""
    step: int = 0
    error: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """The last values of the run's log."""
    worker_seconds: float = 0.0
    seconds: float = 0.0
    """From its start to its end in this driver, waiting included."""

    def __post_init__(self) -> None:
        # However one is made, it is published: in the journal, the table of trials and the page.
        object.__setattr__(self, "error", plain_text(self.error, MAX_MESSAGE))


@dataclass(frozen=True)
class EndedTrial:
    """A trial that is over."""

    number: int
    tried: Mapping[str, Any]
    ending: Ending
    seen: Mapping[int, float]
    """Validation loss by step, as far as it was heard of."""
    num_starts: int


class Study:
    """The trials of one study; every method that changes something writes one entry."""

    def __init__(self, config: TuneConfig, check_owner: Callable[[], None]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = config
        self._check_owner = check_owner
        self._run = config.base.to_dict()
        self._sign = -1.0 if larger_is_better(config.objective.name) else 1.0
        self.points = grid_points(config.space, self._run) if config.search.kind == "grid" else None
        self.rungs = rungs_of(config.halving, config.base)
        self._journal = StudyJournal(open_store(config.output))
        self._storage = JournalStorage(self._journal)
        self._study = self._opened()

    def _opened(self) -> optuna.Study:
        known = [study.study_name for study in self._storage.get_all_studies()]
        if _NAME not in known:
            with self._writing():
                study = optuna.create_study(
                    study_name=_NAME,
                    storage=self._storage,
                    direction="minimize" if self._sign > 0 else "maximize",
                )
                study.set_user_attr("rungs", list(self.rungs))
        study = optuna.load_study(study_name=_NAME, storage=self._storage)
        self.rungs = tuple(study.user_attrs["rungs"])
        study.pruner = pruner_of(self.rungs, self._config.halving)
        return study

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_owner()
        with self._journal.together():
            yield

    @property
    def num_planned(self) -> int:
        """Trials in all."""
        search = self._config.search
        count = search.num_trials if search.kind == "bayes" else len(self.points or ())
        return count if self._config.limit is None else min(count, self._config.limit)

    def unfinished(self) -> list[Suggestion]:
        """Trials that were suggested and have not ended, by number."""
        return [
            Suggestion(trial.number, values_of(self._config.space, trial.params))
            for trial in self._study.get_trials(deepcopy=False)
            if not trial.state.is_finished()
        ]

    def ended(self) -> list[EndedTrial]:
        """Trials that are over, by number."""
        trials = self._study.get_trials(deepcopy=False)
        return [self._as_ended(trial) for trial in trials if trial.state.is_finished()]

    def _as_ended(self, trial: FrozenTrial) -> EndedTrial:
        known = trial.user_attrs.get("ending", {})
        ending = Ending(
            **{**known, "state": _STATES[trial.state], "value": trial.value if trial.value is not
               None and trial.state == State.COMPLETE else None}
        )  # fmt: skip
        seen = {step: self._sign * value for step, value in trial.intermediate_values.items()}
        tried = values_of(self._config.space, trial.params)
        return EndedTrial(trial.number, tried, ending, seen, trial.user_attrs.get("starts", 0))

    def suggest(self) -> Suggestion | None:
        """The next trial; None when all have been suggested."""
        number = len(self._study.get_trials(deepcopy=False))
        if number >= self.num_planned:
            return None
        search, space = self._config.search, self._config.space
        if search.kind == "bayes":
            self._study.sampler = sampler_for(search, seed=self._config.seed, number=number)
        else:
            assert self.points is not None  # noqa: S101 - a grid's
            self._study.sampler = PointSampler(space, self.points[number])
        with self._writing():
            tried = suggest(self._study.ask(), space, self._run)
        return Suggestion(number, tried)

    def start(self, number: int) -> bool:
        """Count a start of the trial; False when it was started too often."""
        starts = self._trial(number).user_attrs.get("starts", 0)
        if starts >= self._config.max_starts:
            return False
        with self._writing():
            self._set(number, "starts", starts + 1)
        return True

    def forgive(self, number: int) -> None:
        """Take a start back: the trial was asked to stop, and goes on another time."""
        with self._writing():
            self._set(number, "starts", self._trial(number).user_attrs.get("starts", 1) - 1)

    def see(self, number: int, step: int, loss: float) -> bool:
        """Take a validation loss; whether halving ends the trial."""
        trial = self._trial(number)
        if "stopped_at" in trial.user_attrs:
            return True
        if not self.rungs or trial.state.is_finished() or step in trial.intermediate_values:
            return False
        if not step:
            return False  # before training, all are alike
        value = loss if math.isfinite(loss) else sys.float_info.max  # JSON has no infinity
        with self._writing():
            self._storage.set_trial_intermediate_value(
                trial._trial_id, step, self._sign * value  # noqa: SLF001
            )  # fmt: skip
            stops = self._study.pruner.prune(self._study, self._trial(number))
            if stops:
                self._set(number, "stopped_at", step)
        return stops

    def is_stopped(self, number: int) -> bool:
        """Whether halving has ended the trial, though its run may not know yet."""
        return "stopped_at" in self._trial(number).user_attrs

    def end(self, number: int, ending: Ending) -> Ending:
        """Close the trial; what was decided about it holds, however its run ended."""
        trial = self._trial(number)
        stopped_at = trial.user_attrs.get("stopped_at")
        if stopped_at is not None:
            ending = Ending(**{**asdict(ending), "state": "stopped", "value": None, "error": ""})
        if ending.state == "complete" and (ending.value is None or math.isnan(ending.value)):
            raise AssertionError(f"trial {number} is complete and has no value")
        with self._writing():
            self._set(number, "ending", asdict(ending))
            if ending.state == "stopped":
                self._study.tell(number, state=State.PRUNED)  # at the value that it had then
            elif ending.state == "complete":
                self._study.tell(number, ending.value)
            else:
                self._study.tell(number, state=State.FAIL)
        return ending

    def best(self) -> EndedTrial | None:
        """The complete trial with the best objective, the first of equals."""
        complete = [trial for trial in self.ended() if trial.ending.value is not None]
        return min(complete, key=lambda trial: self._sign * _value(trial), default=None)

    def importance(self) -> dict[str, float]:
        """Share of the objective's variance that each field explains (fANOVA); empty for few."""
        complete = [trial for trial in self.ended() if trial.ending.value is not None]
        if len(complete) < 4 or len({_value(trial) for trial in complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._config.seed)
        try:
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (ValueError, RuntimeError) as error:
            logger.debug("no importance: %s", error)
            return {}
        return {name: float(share) for name, share in found.items()}

    def base_values(self) -> dict[str, Any]:
        """Field -> its value in the run as it is without the study."""
        return {name: at(self._run, name) for name in self._config.space}

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _set(self, number: int, name: str, value: Any) -> None:
        trial_id = self._trial(number)._trial_id  # noqa: SLF001
        self._storage.set_trial_user_attr(trial_id, name, value)


def _value(trial: EndedTrial) -> float:
    assert trial.ending.value is not None  # noqa: S101 - asked of complete ones
    return trial.ending.value
