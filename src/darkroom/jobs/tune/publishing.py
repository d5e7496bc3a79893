"""A study's results as files: the best config as YAML, the table of trials, the page."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from darkroom.jobs.artifacts.study import (
    BEST_FILE,
    PAGE_FILE,
    TRIALS_FILE,
    Confirmation,
    StudyInfo,
)
from darkroom.jobs.measuring.names import larger_is_better
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.page import study_page
from darkroom.jobs.tune.study import EndedTrial, Ending, Study
from darkroom.jobs.tune.trial import Errand
from darkroom.pages.page import render_page
from darkroom.plain_yaml import dump_yaml
from darkroom.storage import Artifact, Output

_OWN = ("input", "output", "on_existing")
"""Fields that each run gets anew."""


def publish(
    output: Output,
    config: TuneConfig,
    study: Study,
    confirmed: Mapping[str, Mapping[int, Ending]],
) -> Artifact:
    """Write and publish everything. The study has a best trial."""
    trials, best = study.ended(), study.best()
    assert best is not None and best.ending.value is not None  # noqa: S101, PT018
    states = Counter(trial.ending.state for trial in trials)
    runs = [ending for endings in confirmed.values() for ending in endings.values()]
    tuned = config.run_config(best.tried, config.output)
    info = StudyInfo(
        tuned=config.verb,
        objective=config.objective.name,
        larger_is_better=larger_is_better(config.objective.name),
        axes=tuple(config.space),
        num_trials=dict(states),
        best_trial=best.number,
        best_value=best.ending.value,
        best=config.tried_in(tuned),
        rungs=study.rungs,
        worker_seconds=sum(
            ending.worker_seconds for ending in (*(trial.ending for trial in trials), *runs)
        ),
        confirmed=_confirmation(confirmed.get("best")),
        untuned=_confirmation(confirmed.get("untuned")),
    )
    page = study_page(config, study, info)
    write = output.writer.write_bytes
    files = [
        write(BEST_FILE, best_yaml(tuned.to_dict(), best).encode()),
        write(TRIALS_FILE, parquet_bytes(trials_table(config, trials)), content=False),
        write(PAGE_FILE, render_page(page).encode(), content=False),
    ]
    return output.publish(files, rows=len(trials), metadata=info.to_metadata())


def best_yaml(run: Mapping[str, Any], best: EndedTrial) -> str:
    """The whole config, less its places: `darkroom train --config best.yaml --input ...`."""
    values = {name: value for name, value in run.items() if name not in _OWN}
    return f"# Trial {best.number}.\n{dump_yaml({'version': 1, **values})}"


def trials_table(config: TuneConfig, trials: Sequence[EndedTrial]) -> pa.Table:
    """A row per trial; a column per field that was tried, with a choice as JSON."""
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in trials],
        "state": [trial.ending.state for trial in trials],
        config.objective.name: [trial.ending.value for trial in trials],
    }
    for name in config.space:
        columns[name] = _column(config, name, trials)
    columns |= {
        "step": [trial.ending.step for trial in trials],
        "last_seen": [_last(trial.seen) for trial in trials],
        "error": [trial.ending.error or None for trial in trials],
        "starts": [trial.num_starts for trial in trials],
        "worker_seconds": [trial.ending.worker_seconds for trial in trials],
        "seconds": [trial.ending.seconds for trial in trials],
        "run": [Errand.trial(trial.number, {}).name for trial in trials],
    }
    types = {
        "number": pa.int64(), "state": pa.string(), config.objective.name: pa.float64(),
        "step": pa.int64(), "last_seen": pa.float64(), "error": pa.string(), "starts": pa.int64(),
        "worker_seconds": pa.float64(), "seconds": pa.float64(), "run": pa.string(),
    }  # fmt: skip
    kinds = {"float": pa.float64(), "int": pa.int64(), "choice": pa.string()}
    types |= {name: kinds[axis.kind] for name, axis in config.space.items()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def _column(config: TuneConfig, name: str, trials: Sequence[EndedTrial]) -> list[Any]:
    """None where the field was not tried."""
    values = [trial.tried.get(name) for trial in trials]
    if config.space[name].kind != "choice":
        return values
    return [json.dumps(trial.tried[name]) if name in trial.tried else None for trial in trials]


def _last(seen: Mapping[int, float]) -> float | None:
    return seen[max(seen)] if seen else None


def _confirmation(endings: Mapping[int, Ending] | None) -> Confirmation | None:
    if not endings:
        return None
    values = [ending.value for _, ending in sorted(endings.items()) if ending.value is not None]
    return Confirmation(
        seeds=tuple(sorted(endings)),
        values=tuple(values),
        mean=statistics.fmean(values) if values else None,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
    )
