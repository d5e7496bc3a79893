"""Plots are SVG that parses, follows the page's colour, and shows what it is given."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from xml.etree import ElementTree as ET

import pytest

from darkroom.pages import plots
from darkroom.pages.attempts_plot import AttemptBar, attempts_plot
from darkroom.pages.page import Figure
from darkroom.pages.style import INK


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own output


LINEAR = [0.01 * (i + 1) for i in range(20)]
SCHEDULE = plots.ScheduleCurves("linear", LINEAR, LINEAR[::-1], [1 / b for b in LINEAR], True)
OTHER = plots.ScheduleCurves("cosine", LINEAR, LINEAR[::-1], [*LINEAR[1:], 0.0])
LOG = plots.TrainingLog(
    list(range(1, 31)),
    {
        "loss": [1 / i for i in range(1, 31)],
        "validation_loss": [None] * 29 + [0.1],
        "learning_rate": [1e-3] * 30,
        "grad_norm": [math.nan, *[1.0] * 29],
    },
)
EVERY_PLOT: dict[str, Callable[[], list[Figure]]] = {
    "schedules": lambda: plots.schedule_plots([SCHEDULE, OTHER]),
    "training": lambda: plots.training_plots(LOG),
    "accuracy": lambda: [
        plots.accuracy_plot(
            {"0": (0.9, 0.8, 1.0), "cat & dog": (0.5, 0.4, 0.6)}, floor=0.99, chance=0.5
        )
    ],
    "confusion": lambda: [plots.confusion_plot([[9, 1], [0, 0]], ["0", "1"])],
    "floors": lambda: [
        plots.floor_plot("pixels", plots.Ranged(2, 1.5, 2.5), plots.Ranged(1, 0.9, 1.2)),
        plots.floor_plot("KID", plots.Ranged(0.2, 0.1, 0.3), plots.Ranged(-0.01, -0.03, 0.01)),
    ],
    "attempts": lambda: [
        attempts_plot(
            [AttemptBar("attempt 1", {"useful": 3, "lost": 1}), AttemptBar("2", {"useful": 5})],
            {"startup": "start-up", "useful": "useful steps", "lost": "lost to faults"},
        )
    ],
    "neighbours": lambda: [plots.neighbour_plot([0, 1, 2, 3], [1, 5, 2], [2, 4, 1])],
}


@cache
def drawn(name: str) -> list[str]:
    return [figure.svg for figure in EVERY_PLOT[name]()]


@pytest.mark.parametrize("name", EVERY_PLOT)
def test_a_plot_is_one_svg_that_follows_the_page(name: str) -> None:
    for svg in drawn(name):
        root = parse(svg)
        assert root.tag.endswith("svg")
        assert root.get("viewBox")
        assert root.get("width") is None, "a fixed size would not fit a narrow page"
        assert root.get("aria-label")
        assert "currentColor" in svg
        assert INK not in svg


def test_a_plot_is_deterministic() -> None:
    assert [figure.svg for figure in EVERY_PLOT["floors"]()] == drawn("floors")


def test_ids_of_two_plots_do_not_collide() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for name in EVERY_PLOT for svg in drawn(name)]
    assert sum(len(found) for found in ids) == len(set().union(*ids))


def test_what_a_plot_refers_to_is_in_it() -> None:
    for svg in (svg for name in EVERY_PLOT for svg in drawn(name)):
        wanted = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert wanted <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_names_are_escaped() -> None:
    assert "cat &amp; dog" in drawn("accuracy")[0]
    for figure in plots.schedule_plots(
        [plots.ScheduleCurves('"><script>', LINEAR, LINEAR, LINEAR)]
    ):
        parse(figure.svg)
        assert "<script>" not in figure.svg


def test_the_own_schedule_is_named_as_such() -> None:
    _, signal, _ = drawn("schedules")
    assert "linear (this run)" in signal
    assert "cosine (this run)" not in signal


def test_a_series_leaves_out_missing_and_non_finite_values() -> None:
    assert LOG.series("validation_loss") == ([30], [0.1])
    assert len(LOG.series("grad_norm")[0]) == 29
    assert LOG.series("unknown") == ([], [])


def test_an_empty_log_still_gives_a_plot() -> None:
    for figure in plots.training_plots(plots.TrainingLog([], {})):
        parse(figure.svg)
