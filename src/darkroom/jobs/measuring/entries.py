"""The table of what can be measured: one entry per (features x measure), and what each needs.

A new row is one more `Entry`. Its features are a column that an extractor makes
(`extractors.py`), its measure a function of three sets of them (`measures.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darkroom.errors import DataError
from darkroom.jobs.artifacts.evaluation import Metric
from darkroom.jobs.measuring.comparison import PIXELS, Comparison
from darkroom.jobs.measuring.config import MeasuringConfig, MetricName
from darkroom.jobs.measuring.measures import Measure, class_accuracy, frechet, kernel, nearness
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.progress import progress
from darkroom.metrics.features import MAX_PIXEL_DIM, MIN_CLASSIFIER_SIDE

CLASSIFIER, LOGITS = "classifier", "logits"
"""Columns of the reference classifier: the layer before the last, and the last."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What is known of the pictures before any of them is decoded."""

    shape: ImageShape
    num_classes: int
    """Of the reference."""
    reference_is_labelled: bool
    """Every picture of both splits."""
    classes_are_asked: bool
    """The generated pictures say which class each was asked to show."""


Need = Callable[[Facts], str]
"""Why an entry cannot be measured; empty when it can."""


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    title: str
    features: str
    """The column that is compared."""
    measure: Measure
    needs: tuple[Need, ...] = ()

    def missing(self, facts: Facts) -> str:
        """Why it cannot be measured; empty when it can."""
        return next((reason for need in self.needs if (reason := need(facts))), "")


def few_values(facts: Facts) -> str:
    """Covariances of the pixels themselves."""
    too_many = facts.shape.num_bytes > MAX_PIXEL_DIM
    return f"pictures have over {MAX_PIXEL_DIM} values" if too_many else ""


def real_classes(facts: Facts) -> str:
    """The reference classifier."""
    if not facts.reference_is_labelled or facts.num_classes < 2:
        return "the reference has no classes to train a classifier on"
    least = MIN_CLASSIFIER_SIDE
    is_small = min(facts.shape.height, facts.shape.width) < least
    return f"the classifier needs pictures of {least}x{least}" if is_small else ""


def asked_classes(facts: Facts) -> str:
    """A class to compare with what is recognised."""
    return "" if facts.classes_are_asked else "the pictures do not say which class was asked for"


ENTRIES: Mapping[MetricName, Entry] = {
    "frechet_pixels": Entry("Frechet distance, pixels", PIXELS, frechet, (few_values,)),
    "frechet_classifier": Entry(
        "Frechet distance, classifier features", CLASSIFIER, frechet, (real_classes,)
    ),
    "kernel_pixels": Entry("Kernel distance (KID), pixels", PIXELS, kernel, (few_values,)),
    "kernel_classifier": Entry(
        "Kernel distance (KID), classifier features", CLASSIFIER, kernel, (real_classes,)
    ),
    "class_accuracy": Entry(
        "Recognised as the asked class", LOGITS, class_accuracy, (real_classes, asked_classes)
    ),
    "memorisation": Entry(
        "Nearest training picture, relative to a test picture's", PIXELS, nearness
    ),
}


def title_of(name: str) -> str:
    """The metric for people; one that a later version measured goes by its name."""
    return next((entry.title for known, entry in ENTRIES.items() if known == name), name)


def choose(
    metrics: Sequence[MetricName], facts: Facts
) -> tuple[tuple[MetricName, ...], dict[str, str]]:
    """What can be measured of what was asked for, and why the rest is left out.

    Errors: DataError when nothing can be.
    """
    reasons = {name: ENTRIES[name].missing(facts) for name in metrics}
    skipped: dict[str, str] = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in skipped.items():
        logger.warning("%s is left out: %s", name, reason)
    wanted = tuple(name for name in metrics if name not in skipped)
    if not wanted:
        raise DataError("metrics", list(metrics), f"none can be computed: {skipped}")
    return wanted, skipped


def columns_of(metrics: Sequence[MetricName]) -> tuple[str, ...]:
    """The features that they compare, each once."""
    return tuple(dict.fromkeys(ENTRIES[name].features for name in metrics))


def measure(
    comparison: Comparison, metrics: Sequence[MetricName], settings: MeasuringConfig, *, seed: int
) -> dict[str, Metric]:
    """The figures of `metrics`, which `choose` found measurable.

    Errors: DataError for too few pictures, or a reference that overlaps with itself.
    """
    figures: dict[str, Metric] = {}
    with progress(len(metrics), "measure", "metrics") as bar:
        for name in metrics:
            entry = ENTRIES[name]
            figures[name] = entry.measure(comparison, entry.features, settings, seed)
            bar.advance(1)
    return figures
