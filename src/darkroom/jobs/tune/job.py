"""The `tune` verb: suggest, run, judge, until all trials are over; then publish the best config.

    journal (Optuna) -> trials/0, trials/1, ... (ordinary runs) -> best.yaml, trials.parquet, page

Safe to start again at any moment by the same command: what was suggested is finished, what has
ended is not run again. Assumes one driver at a time; a newer one fences an older one off, by the
same pointer that training has.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from darkroom.errors import ConfigError, DataError, InterruptedBySignal, TrainingError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.artifacts.study import BEST_FILE, PAGE_FILE, StudyInfo
from darkroom.jobs.progress import Progress, progress
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import Crew, CrewOfOne
from darkroom.jobs.tune.halving import rungs_of
from darkroom.jobs.tune.judging import check_measuring
from darkroom.jobs.tune.publishing import publish
from darkroom.jobs.tune.space import grid_points
from darkroom.jobs.tune.study import Ending, Study
from darkroom.jobs.tune.trial import Errand
from darkroom.storage import Artifact, Parent, RunPointer, open_artifact, open_output, open_store
from darkroom.storage.pointer import read_pointer
from darkroom.storage.same_run import first_difference

logger = logging.getLogger(__name__)


def run(config: TuneConfig) -> dict[str, Any]:
    """Tune until the study is published; returns where, and what is best.

    Errors: ConfigError for another space, TrainingError where no trial came to its end,
    InterruptedBySignal (143), FencedError when another driver took the study over.
    """
    dataset = open_artifact(config.input, kind=Kind.DATASET)
    if not DatasetInfo.of(dataset).split_rows.get("validation"):
        raise DataError(
            "input", config.input, "has no validation split, which trials are judged by",
            "prepare the data with one: split.validation",
        )  # fmt: skip
    check_measuring(config)
    _check_plan(config)
    parents = (dataset.as_parent("data"),)
    _refuse_other_study(config)
    with open_output(config.output, kind=Kind.STUDY, config=config, parents=parents) as output:
        if output.completed is not None:
            return _result(output.completed)
        study = Study(config, _claim(config, parents))
        with _crew(config) as crew:
            run_trials(study, config, crew)
            best = study.best()
            if best is None:
                raise TrainingError(_all_failed(study))
            confirmed = confirm(config, crew, best.tried)
        return _result(publish(output, config, study, confirmed))


def _check_plan(config: TuneConfig) -> None:
    """Refuse what no study can be made of, before one is begun. Errors: ConfigError."""
    run = config.base
    rungs_of(config.halving, run)
    if config.search.kind == "grid":
        grid_points(config.space, run.to_dict())


def _claim(config: TuneConfig, parents: tuple[Parent, ...]) -> Any:
    """Own the study; what tells whether it still is owned. Errors: OutputExistsError."""
    owner = secrets.token_hex(8)
    RunPointer.claim(config.output, owner=owner, config=config, parents=parents)
    return lambda: RunPointer.attach(config.output, owner=owner)


def _refuse_other_study(config: TuneConfig) -> None:
    """In a study's own words, before the general comparison of two runs."""
    state = read_pointer(open_store(config.output))[0]
    if state is None or "space" not in state.config:
        return
    before, now = state.config["space"], config.to_dict()["space"]
    # Both ways: an axis that is gone is as much another space as a new one.
    found = first_difference(before, now) or first_difference(now, before)
    if found is not None:
        raise ConfigError(
            f"space.{found[0]}", None, f"the study {config.output} was begun with another space",
            "use the same space, or another output",
        )  # fmt: skip


@contextmanager
def _crew(config: TuneConfig) -> Iterator[Crew]:
    workers = config.base.workers.num_workers
    with ExitStack() as stack:
        if config.runs_here:
            if config.objective.is_measured:
                stack.enter_context(ray_session())
            yield CrewOfOne(config)
            return
        stack.enter_context(ray_session(local_num_cpus(workers)))
        from darkroom.jobs.training.driver import stop_signals
        from darkroom.jobs.tune.on_ray import RayCrew

        yield RayCrew(config, stack.enter_context(stop_signals()))


def run_trials(study: Study, config: TuneConfig, crew: Crew) -> None:
    """Until every planned trial has ended. Errors: as `run`."""
    numbers: dict[str, int] = {}
    begun: set[int] = set()

    def following() -> Errand | None:
        while True:
            waiting = (each for each in study.unfinished() if each.number not in begun)
            suggestion = next(waiting, None) or study.suggest()
            if suggestion is None:
                return None
            number = suggestion.number
            if study.is_stopped(number):  # decided, and then the driver was lost
                _end(Ending(state="stopped"), number)
                continue
            if not study.start(number):
                _end(_lost(config), number)
                continue
            begun.add(number)
            errand = Errand.trial(number, suggestion.tried)
            numbers[errand.name] = number
            return errand

    def _end(ending: Ending, number: int) -> None:
        ending = study.end(number, ending)
        if ending.state == "failed":
            logger.warning("trial %d failed: %s", number, ending.error)
        _show(bar, study)

    def watch(errand: Errand, step: int, loss: float) -> bool:
        return study.see(numbers[errand.name], step, loss)

    with progress(study.num_planned, "tune", "trial") as bar:
        bar.advance(len(study.ended()))
        try:
            for errand, ending in crew.work(following, watch):
                number = numbers[errand.name]
                if ending is None:
                    begun.remove(number)  # to be started again, as long as it may
                else:
                    _end(ending, number)
        except InterruptedBySignal:
            for suggestion in study.unfinished():
                if suggestion.number in begun:
                    study.forgive(suggestion.number)
            raise


def _show(bar: Progress, study: Study) -> None:
    best = study.best()
    bar.advance(1, **({} if best is None else {"best": best.ending.value, "of": best.number}))


def confirm(
    config: TuneConfig, crew: Crew, best: Mapping[str, Any]
) -> dict[str, dict[int, Ending]]:
    """The best config and the untuned one with further seeds: what -> seed -> ending.

    A run whose process is lost is started again as a trial is. Errors: as `run`.
    """
    endings: dict[str, dict[int, Ending]] = {"best": {}, "untuned": {}}
    errands = {
        (what, seed): Errand.confirming(what, seed, tried)
        for seed in range(config.base.seed + 1, config.base.seed + 1 + config.confirm)
        for what, tried in (("best", best), ("untuned", {}))
    }
    if not errands:
        return {}
    by_name = {errand.name: key for key, errand in errands.items()}
    waiting = deque(errands.values())
    starts: Counter[str] = Counter()

    def following() -> Errand | None:
        if not waiting:
            return None
        errand = waiting.popleft()
        starts[errand.name] += 1
        return errand

    with progress(len(errands), "confirm", "run") as bar:
        for errand, found in crew.work(following, lambda _errand, _step, _loss: False):
            if found is None and starts[errand.name] < config.max_starts:
                waiting.append(errand)
                continue
            ending = found or _lost(config)
            if ending.state == "failed":
                logger.warning("%s failed: %s", errand.name, ending.error)
            what, seed = by_name[errand.name]
            endings[what][seed] = ending
            bar.advance()
    return endings


def _lost(config: TuneConfig) -> Ending:
    return Ending(state="failed", error=f"its process was lost {config.max_starts} times")


def _all_failed(study: Study) -> str:
    errors = [trial.ending.error for trial in study.ended() if trial.ending.error]
    return f"no trial came to its end; the last one: {errors[-1] if errors else 'was stopped'}"


def _result(artifact: Artifact) -> dict[str, Any]:
    info = StudyInfo.of(artifact)
    result: dict[str, Any] = {
        **names_of(artifact),
        "trials": dict(info.num_trials),
        "best_trial": info.best_trial,
        info.objective: info.best_value,
        "best": dict(info.best),
        "config": str(artifact.uri / artifact.entry(BEST_FILE).key),
        "page": str(artifact.uri / artifact.entry(PAGE_FILE).key),
        "worker_seconds": round(info.worker_seconds, 1),
    }
    for name, found in (("confirmed", info.confirmed), ("untuned", info.untuned)):
        if found is not None:
            result[name] = {
                "mean": found.mean,
                "deviation": found.deviation,
                "n": len(found.values),
            }
    return result
