"""The page of a study: what is best, how it was found, what it cost."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.jobs.artifacts.study import Confirmation, StudyInfo, TrialState
from darkroom.jobs.tune.axes import AnyAxis, ChoiceAxis
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.study import EndedTrial, Study
from darkroom.metrics.jackknife import student_quantile
from darkroom.pages.page import (
    Cell,
    Chip,
    Folded,
    KeyFigure,
    Mood,
    Page,
    Paragraph,
    Section,
    SideBySide,
)
from darkroom.pages.page import Table as PageTable
from darkroom.pages.study_plots import (
    PlottedAxis,
    PlottedTrial,
    cost_plot,
    history_plot,
    importance_plot,
    parallel_plot,
    rungs_plot,
)
from darkroom.plain_yaml import dump_yaml
from darkroom.storage import parse_uri

_MOODS: Mapping[TrialState, Mood] = {"complete": "good", "stopped": "warn", "failed": "bad"}


def study_page(config: TuneConfig, study: Study, info: StudyInfo) -> Page:
    """Everything on it."""
    trials = study.ended()
    plotted = [_plotted(trial, config.space) for trial in trials]
    confirmed = _confirmed_section(info)
    sections = [
        _best_section(config, study, info),
        *([confirmed] if confirmed is not None else []),
        _search_section(config, study, plotted, info),
        _trials_section(config, trials, plotted, info),
        Section(
            "settings", "Settings of the study",
            [Folded("Everything that was asked for", dump_yaml(config.to_dict()))],
        ),
    ]  # fmt: skip
    return Page(
        title=parse_uri(config.output, field="output").name,
        subtitle=f"A study of darkroom {config.verb}: {len(trials)} trials over "
        f"{len(config.space)} fields, by {info.objective}.",
        key_figures=_key_figures(info, trials),
        sections=sections,
        footer="Made by darkroom tune. This file needs nothing else: keep it, mail it, open it "
        "offline.",
    )


def _key_figures(info: StudyInfo, trials: Sequence[EndedTrial]) -> list[KeyFigure]:
    better = "larger is better" if info.larger_is_better else "smaller is better"
    counts = info.num_trials
    figures = [
        KeyFigure(f"Best {info.objective}", f"{info.best_value:.4g}", f"trial {info.best_trial}; "
                  f"{better}", "good"),
        KeyFigure("Trials", str(len(trials)), ", ".join(f"{counts[state]} {state}" for state in
                  _MOODS if counts.get(state))),
        KeyFigure("Cost", f"{info.worker_seconds:,.0f} s", "worker-seconds of all runs"),
    ]  # fmt: skip
    if info.confirmed is not None and info.confirmed.mean is not None:
        figures.append(KeyFigure("With further seeds", *_spread(info.confirmed)))
    return figures


def _spread(found: Confirmation) -> tuple[str, str]:
    if found.mean is None:
        return "-", "no run came to its end"
    deviation = "" if found.deviation is None else f" ± {found.deviation:.2g}"
    return f"{found.mean:.4g}{deviation}", f"mean and standard deviation of {len(found.values)}"


def _best_section(config: TuneConfig, study: Study, info: StudyInfo) -> Section:
    before = study.base_values()
    rows = [[name, _text(info.best[name]), _text(before[name])] for name in config.space]
    return Section(
        "best", "The best config",
        [PageTable(["field", "best", "before"], rows, code=frozenset({"field", "best", "before"}))],
        lead=f"Trial {info.best_trial}. best.yaml has the whole config: darkroom {config.verb} "
        "--config best.yaml --input DATA --output MODEL.",
    )  # fmt: skip


def _confirmed_section(info: StudyInfo) -> Section | None:
    if info.confirmed is None or info.untuned is None:
        return None
    rows = [
        [name, *_spread(found)[:1], ", ".join(f"{value:.4g}" for value in found.values),
         ", ".join(map(str, found.seeds))]
        for name, found in (("best", info.confirmed), ("before tuning", info.untuned))
    ]  # fmt: skip
    return Section(
        "confirmed", "With further seeds",
        [
            PageTable(["config", "mean ± deviation", info.objective, "seeds"], rows,
                      numbers=frozenset({"mean ± deviation"})),
            Paragraph(verdict(info)),
        ],
        lead="The best trial was chosen among many, so its own value flatters it. These runs had "
        "seeds that no trial had. A seed has validation noise of its own, so values of one seed "
        "belong together.",
    )  # fmt: skip


def verdict(info: StudyInfo) -> str:
    """Whether tuning has helped: one sentence, by the 95 % interval (Student's) of the mean
    difference between two runs of one seed, which share their validation noise."""
    best, before = info.confirmed, info.untuned
    if best is None or before is None or not (_is_whole(best) and _is_whole(before)):
        return "Not every run came to its end, so nothing can be said."
    sign = 1 if info.larger_is_better else -1
    gains = [sign * (one - other) for one, other in zip(best.values, before.values, strict=True)]
    gain = statistics.fmean(gains)
    if len(gains) == 1:
        return (
            f"With one seed nothing is sure: the difference is {gain:+.3g} in favour of the best."
        )
    error = statistics.stdev(gains) / len(gains) ** 0.5
    reach = student_quantile(0.975, len(gains) - 1) * error
    interval = (
        f"(95 % interval of the seeds' differences {gain - reach:.3g} to {gain + reach:.3g})."
    )
    if gain > reach:
        return f"The tuned config is better by {gain:.3g} {interval}"
    if gain < -reach:
        return f"The tuned config is worse by {-gain:.3g}: the search has fooled itself {interval}"
    return (
        f"No difference that these seeds could show: {gain:+.3g} in favour of the best {interval}"
    )


def _is_whole(found: Confirmation) -> bool:
    """Whether every seed has its value."""
    return 0 < len(found.values) == len(found.seeds)


def _search_section(
    config: TuneConfig, study: Study, plotted: Sequence[PlottedTrial], info: StudyInfo
) -> Section:
    better = info.larger_is_better
    axes = [_axis(name, axis) for name, axis in config.space.items()]
    history = history_plot(plotted, info.objective, larger_is_better=better)
    shares = study.importance()
    blocks: list[Any] = []
    if info.rungs:
        blocks.append(SideBySide([history, rungs_plot(plotted, info.rungs)]))
    else:
        blocks.append(history)
    blocks.append(parallel_plot(plotted, axes, info.objective, larger_is_better=better))
    if shares:
        blocks.append(importance_plot(shares))
        lead = "Importance: share of the objective's variance that a field explains in a random "
        lead += "forest (fANOVA) of the complete trials; of so few trials it is a hint."
    else:
        lead = "Too few complete trials to say which field mattered."
    return Section("search", "The search", blocks, lead=lead)


def _trials_section(
    config: TuneConfig,
    trials: Sequence[EndedTrial],
    plotted: Sequence[PlottedTrial],
    info: StudyInfo,
) -> Section:
    errors = any(trial.ending.error for trial in trials)
    # A name may be broken at its dots: there are many of them beside each other.
    named = [name.replace(".", ". ") for name in config.space]
    columns = ["trial", "state", info.objective, *named, "steps", "worker-s"]
    rows: list[list[Cell]] = [
        [
            str(trial.number),
            [Chip(trial.ending.state, _MOODS[trial.ending.state])],
            "" if trial.ending.value is None else f"{trial.ending.value:.4g}",
            *(_text(trial.tried[name]) if name in trial.tried else "" for name in config.space),
            str(trial.ending.step),
            f"{trial.ending.worker_seconds:.1f}",
            *([trial.ending.error[:120]] if errors else ()),
        ]
        for trial in trials
    ]
    columns += ["error"] * errors
    numbers = frozenset({"trial", info.objective, "steps", "worker-s"})
    return Section(
        "trials", "All trials",
        [cost_plot(plotted), PageTable(columns, rows, numbers=numbers)],
        lead="Each is a run of its own below the study, under trials/; trials.parquet has this "
        "table.",
    )  # fmt: skip


def _plotted(trial: EndedTrial, space: Mapping[str, AnyAxis]) -> PlottedTrial:
    return PlottedTrial(
        number=trial.number,
        state=trial.ending.state,
        value=trial.ending.value,
        values={
            name: json.dumps(value) if isinstance(space[name], ChoiceAxis) else value
            for name, value in trial.tried.items()
        },
        seen=trial.seen,
        worker_seconds=trial.ending.worker_seconds,
    )


def _axis(name: str, axis: AnyAxis) -> PlottedAxis:
    if isinstance(axis, ChoiceAxis):
        return PlottedAxis(name, tuple(json.dumps(value) for value in axis.values))
    return PlottedAxis(name, low=axis.low, high=axis.high, log=axis.log)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
