"""The page about evaluations alone: one, or several side by side.

A sweep over guidance scales or steps, or several models: the figures in one table, a distance over
how well pictures fit what was asked in one plot. Which evaluations may be compared is
`comparable.py`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from darkroom.jobs.artifacts.evaluation import Evaluation, Metric
from darkroom.jobs.measuring.entries import title_of
from darkroom.jobs.measuring.names import CLASS_ACCURACY, CLIP_SCORE, larger_is_better
from darkroom.jobs.measuring.words import interval, shown
from darkroom.jobs.report.comparable import AXES, SideEvaluation, shared_metrics, varying
from darkroom.jobs.report.measures import headline_distance, key_figures, ranged
from darkroom.jobs.report.sections import folded_settings, measures_section, origins
from darkroom.pages.page import Block, Figure, KeyFigure, Page, Section, SideBySide, Table
from darkroom.pages.sweep_plot import SweepPoint, SweepSeries, sweep_plot

_SWEPT = ("guidance_scale", "num_steps")
"""Axes whose points a line joins, the first that varies."""


def evaluations_page(
    evaluations: Sequence[SideEvaluation], plot: Figure | None, *, title: str
) -> Page:
    """Everything on the page, from what was published."""
    first = evaluations[0].evaluation
    sections = [
        _comparison_section(evaluations, plot)
        if len(evaluations) > 1
        else measures_section(first),
        Section(
            "settings", "Settings",
            [folded_settings(one.name, one.artifact) for one in evaluations],
            "The complete config behind each evaluation.",
        ),
        origins([one.artifact for one in evaluations]),
    ]  # fmt: skip
    figures = _best(evaluations) if len(evaluations) > 1 else key_figures(first)
    return Page(
        title=title,
        subtitle=_subtitle(evaluations),
        key_figures=figures,
        sections=[section for section in sections if section is not None],
        footer=f"Made by darkroom report from {len(evaluations)} evaluations. "
        "This file needs nothing else: keep it, mail it, open it offline.",
    )


def comparison_json(evaluations: Sequence[SideEvaluation]) -> bytes:
    """The figures of all in one file: equal for equal evaluations, so no URIs and no times."""
    names = _names(evaluations)
    rows = [
        {
            "content": one.evaluation.content,
            "num_images": one.evaluation.num_images,
            **{axis: getattr(one.evaluation.drawn, axis, None) for axis in AXES},
            "metrics": {
                name: _numbers(one.evaluation.metrics[name])
                for name in names
                if name in one.evaluation.metrics
            },
        }
        for one in evaluations
    ]
    reference = evaluations[0].evaluation.reference.content
    return json.dumps({"reference": reference, "evaluations": rows}, indent=1).encode()


def comparison_markdown(evaluations: Sequence[SideEvaluation]) -> bytes:
    """The page's table as text."""
    table = _table(evaluations)
    lines = [
        f"# {len(evaluations)} evaluations, side by side",
        "",
        *(f"| {' | '.join(map(str, row))} |" for row in (
            table.columns,
            ["--:" if name in table.numbers else "---" for name in table.columns],
            *table.rows,
        )),
        "",
        _lead(evaluations),
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def comparison_plot(evaluations: Sequence[SideEvaluation]) -> Figure | None:
    """The headline distance over how well pictures fit what was asked, or over what is swept.

    None where fewer than two evaluations, or no figures that all have, could be put in it.
    """
    shared = shared_metrics(evaluations)
    fewest = min(one.evaluation.num_images for one in evaluations)
    y_name = headline_distance(shared, fewest)
    x_name = next((name for name in (CLIP_SCORE, CLASS_ACCURACY) if name in shared), None)
    if len(evaluations) < 2 or y_name is None or x_name is None:
        return None
    axes = varying(evaluations)
    swept = next((axis for axis in _SWEPT if axis in axes), None)
    others = [axis for axis in axes if axis != swept]
    groups: dict[str, list[SideEvaluation]] = {}
    for one in evaluations:
        said = ", ".join(f"{AXES[axis]} {one.setting(axis) or '?'}" for axis in others)
        groups.setdefault(said, []).append(one)
    if swept is None:  # nothing orders them: points, each by its name
        groups = {one.name: [one] for one in evaluations}
    series = [
        SweepSeries(
            name,
            [
                SweepPoint(
                    one.setting(swept) if swept else "",
                    ranged(one.evaluation.metrics[x_name]),
                    ranged(one.evaluation.metrics[y_name]),
                )
                for one in sorted(group, key=lambda one: _order(one, swept))
            ],
        )
        for name, group in groups.items()
    ]
    return sweep_plot(
        series, title_of(x_name), title_of(y_name), swept=AXES[swept] if swept else ""
    )


def _order(one: SideEvaluation, swept: str | None) -> float:
    value = getattr(one.evaluation.drawn, swept, None) if swept else None
    return float("inf") if value is None else float(value)


def _numbers(metric: Metric) -> dict[str, Any]:
    values = {"value": metric.value, "lower": metric.lower, "upper": metric.upper, "n": metric.n}
    return values | ({"biased": metric.biased} if metric.biased is not None else {})


def _names(evaluations: Sequence[SideEvaluation]) -> list[str]:
    """Figures that any has, in the order in which they first come."""
    return list(dict.fromkeys(name for one in evaluations for name in one.evaluation.metrics))


def _comparison_section(evaluations: Sequence[SideEvaluation], plot: Figure | None) -> Section:
    blocks: list[Block] = [SideBySide([plot])] if plot is not None else []
    return Section("comparison", "Side by side", [*blocks, _table(evaluations)], _lead(evaluations))


def _lead(evaluations: Sequence[SideEvaluation]) -> str:
    first = evaluations[0].evaluation
    counts = sorted({one.evaluation.num_images for one in evaluations})
    shown_counts = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"{shown_counts} pictures each, against {first.reference.num_test} real ones "
        f"({first.reference.content[:12]}); in brackets the {first.confidence:.0%} intervals. "
        "Each stands alone: to know whether two sets differ, measure one with "
        "darkroom evaluate --against the other, which pairs their pictures."
    )


def _table(evaluations: Sequence[SideEvaluation]) -> Table:
    axes = varying(evaluations)
    names = _names(evaluations)
    titles = [title_of(name) for name in names]
    return Table(
        columns=["evaluation", *(AXES[axis] for axis in axes), *titles],
        rows=[
            [one.name, *(one.setting(axis) for axis in axes),
             *(_cell(name, one.evaluation) for name in names)]
            for one in evaluations
        ],
        numbers=frozenset(AXES[axis] for axis in axes if axis in ("num_steps", "guidance_scale")),
        fixed=frozenset(titles),
    )  # fmt: skip


def _cell(name: str, evaluation: Evaluation) -> str:
    metric = evaluation.metrics.get(name)
    if metric is None:
        return ""
    ends = interval(name, metric)
    return shown(name, metric.value) + (f" [{ends}]" if ends else "")


def _best(evaluations: Sequence[SideEvaluation]) -> list[KeyFigure]:
    """Which is ahead in the headline figures; whether it is so beyond chance, the intervals say."""
    shared = shared_metrics(evaluations)
    fewest = min(one.evaluation.num_images for one in evaluations)
    wanted = (headline_distance(shared, fewest), CLIP_SCORE, CLASS_ACCURACY)
    figures = []
    for name in wanted:
        if name is None or name not in shared:
            continue
        choose = max if larger_is_better(name) else min
        one = choose(evaluations, key=lambda one: one.evaluation.metrics[name].value)
        metric = one.evaluation.metrics[name]
        said = ", ".join(f"{AXES[axis]} {one.setting(axis)}" for axis in varying(evaluations))
        figures.append(
            KeyFigure(
                f"{'Highest' if larger_is_better(name) else 'Lowest'}: {title_of(name)}",
                shown(name, metric.value), f"[{interval(name, metric)}]; {said or one.name}",
            )
        )  # fmt: skip
    return figures


def _subtitle(evaluations: Sequence[SideEvaluation]) -> str:
    first = evaluations[0].evaluation
    models = {one.setting("model") for one in evaluations} - {""}
    of = f" of model {models.pop()}" if len(models) == 1 else ""
    what = "An evaluation" if len(evaluations) == 1 else f"{len(evaluations)} evaluations"
    return f"{what}{of}, against {first.reference.num_test} real pictures."
