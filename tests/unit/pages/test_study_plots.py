"""Plots of a study: what they show stands in their text, whatever is missing."""

from __future__ import annotations

import math

import pytest

from darkroom.pages.study_plots import (
    PlottedAxis,
    PlottedTrial,
    cost_plot,
    history_plot,
    importance_plot,
    parallel_plot,
    rungs_plot,
)

AXES = [
    PlottedAxis("optimizer.learning_rate", low=1e-4, high=1e-2, log=True),
    PlottedAxis("lr_schedule.kind", ('"constant"', '"cosine"')),
]
TRIALS = [
    PlottedTrial(0, "complete", 0.5, {AXES[0].name: 1e-3, AXES[1].name: '"cosine"'},
                 {10: 0.7, 20: 0.5}, 12.0),
    PlottedTrial(1, "stopped", None, {AXES[0].name: 1e-4}, {10: 0.9}, 4.0),
    PlottedTrial(2, "failed", None, {AXES[0].name: 1e-2}, {}, 1.0),
    PlottedTrial(3, "complete", 0.4, {AXES[0].name: 2e-3}, {10: 0.6, 20: 0.4}, 11.0),
]  # fmt: skip


def test_values_have_their_places() -> None:
    assert AXES[0].place(1e-4) == 0
    assert AXES[0].place(1e-3) == pytest.approx(0.5)
    assert AXES[0].place(1e-2) == 1
    assert [AXES[1].place(name) for name in AXES[1].choices] == [0.25, 0.75]
    assert PlottedAxis("x", low=3, high=3).place(3) == 0.5
    assert AXES[0].ticks() == [(0.0, "0.0001"), (1.0, "0.01")]


def test_each_plot_says_what_it_shows() -> None:
    history = history_plot(TRIALS, "validation_loss", larger_is_better=False).svg
    for word in ("best so far", "complete", "stopped", "failed"):
        assert word in history
    parallel = parallel_plot(TRIALS, AXES, "validation_loss", larger_is_better=False).svg
    for word in ("learning_rate", "&quot;cosine&quot;", "0.4", "0.5"):
        assert word in parallel or word.replace("&quot;", '"') in parallel
    assert "stopped" in rungs_plot(TRIALS, (10,)).svg
    assert "worker-seconds" in cost_plot(TRIALS).svg
    assert "batch_size" in importance_plot({"batch_size": 0.7, "ema.decay": 0.3}).svg


def test_a_study_without_a_complete_trial_has_plots_all_the_same() -> None:
    failed = TRIALS[1:3]
    assert "failed" in history_plot(failed, "kernel", larger_is_better=True).svg
    assert "<svg" in parallel_plot(failed, AXES, "kernel", larger_is_better=True).svg
    assert "<svg" in rungs_plot([TRIALS[2]], (10,)).svg


def test_a_figure_may_be_negative_or_equal_in_all_trials() -> None:
    for values in ((-0.1, 0.2), (0.3, 0.3)):
        trials = [
            PlottedTrial(number, "complete", value, {AXES[0].name: 1e-3}, {}, 1.0)
            for number, value in enumerate(values)
        ]
        svg = parallel_plot(trials, AXES[:1], "kernel", larger_is_better=False).svg
        assert "nan" not in svg.lower().replace("finance", "")
        assert math.isfinite(len(svg))
