"""The table of what can be measured: one entry per (features x measure), and what each needs.

A new row is one more `Entry`. Its features are a column that an extractor makes
(`extractors.py`), its measure a function of three sets of them (`measures.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from darkroom.errors import DataError
from darkroom.jobs.artifacts.evaluation import Difference, Metric
from darkroom.jobs.measuring.comparison import PIXELS, Comparison
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.differences import difference_of
from darkroom.jobs.measuring.measures import Measure, class_accuracy, frechet, kernel, nearness
from darkroom.jobs.measuring.names import (
    CLASS_ACCURACY,
    CLIP_SCORE,
    CMMD,
    FEATURES,
    LPIPS,
    LPIPS_DIVERSITY,
    NEARNESS,
    NEIGHBOURHOODS,
    NETWORKS,
    nearness_of,
)
from darkroom.jobs.measuring.set_measures import clip_score, cmmd, lpips_diversity, neighbourhood
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.progress import progress
from darkroom.metrics.features import MAX_PIXEL_DIM, MIN_CLASSIFIER_SIDE, MIN_LPIPS_SIDE

NO_TRAINING_SPLIT = (
    "is a folder, which has no training split: `darkroom prepare` makes a training and a test split"
)
CLASSIFIER, LOGITS = "classifier", "logits"
"""Columns of the reference classifier: the layer before the last, and the last."""

FLOORS = "floors"
"""What is left out where no real pictures can stand in for drawn ones."""


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
    prompts_are_known: bool = False
    """The generated pictures say which prompt each was drawn for."""
    networks: frozenset[str] = frozenset()
    """Names of those that are given."""
    has_training_split: bool = True
    """Of the reference."""
    lpips_net: str | None = None
    """Which network pairs of pictures are compared by."""
    has_pairs: bool = False
    """Some of the generated pictures were asked for the same."""
    kept_columns: frozenset[str] | None = None
    """Features that the reference is known by; None where its pictures are there."""


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
    compares_with_real: bool = True
    """Nothing can be said without the reference's features."""

    def missing(self, facts: Facts) -> str:
        """Why it cannot be measured; empty when it can."""
        needs = list(self.needs)
        if self.compares_with_real:
            needs.append(partial(kept_features, self.features))
        reasons = (need(facts) for need in needs)
        return next((reason for reason in reasons if reason), "")


def few_values(facts: Facts) -> str:
    """Covariances of the pixels themselves."""
    too_many = facts.shape.num_bytes > MAX_PIXEL_DIM
    return f"pictures have over {MAX_PIXEL_DIM} values" if too_many else ""


def training_split(facts: Facts) -> str:
    """Pictures that a model may have seen."""
    return "" if facts.has_training_split else f"the reference {NO_TRAINING_SPLIT}"


def kept_features(column: str, facts: Facts) -> str:
    """A reference of features alone has no others."""
    if facts.kept_columns is None or column in facts.kept_columns:
        return ""
    return f"the reference kept no {column} features"


def real_classes(facts: Facts) -> str:
    """The reference classifier."""
    if missing := training_split(facts):
        return missing
    if not facts.reference_is_labelled or facts.num_classes < 2:
        return "the reference has no classes to train a classifier on"
    least = MIN_CLASSIFIER_SIDE
    is_small = min(facts.shape.height, facts.shape.width) < least
    return f"the classifier needs pictures of {least}x{least}" if is_small else ""


def asked_classes(facts: Facts) -> str:
    """A class to compare with what is recognised."""
    return "" if facts.classes_are_asked else "the pictures do not say which class was asked for"


def given_network(features: str) -> Need:
    """Weights of a network."""

    def need(facts: Facts) -> str:
        if features in facts.networks:
            return ""
        return f"networks.{features} is not given; {_WHERE_FROM[features]}"

    return need


def asked_prompts(facts: Facts) -> str:
    """A text to compare with what is shown."""
    return "" if facts.prompts_are_known else "the pictures do not say which prompt they show"


def pairs_of_pictures(facts: Facts) -> str:
    """Two pictures that were asked for the same, large enough for the network."""
    least = MIN_LPIPS_SIDE[facts.lpips_net or "alex"]
    if min(facts.shape.height, facts.shape.width) < least:
        return f"LPIPS by {facts.lpips_net} needs pictures of {least}x{least}"
    return "" if facts.has_pairs else "no two pictures are known to show the same prompt or class"


_WHERE_FROM = {
    "inception": "set networks.inception.weights to weights-inception-2015-12-05-6726825d.pth of "
    "github.com/toshas/torch-fidelity's release v0.2.0",
    "dinov2": "set networks.dinov2.model to a transformers folder or hub id such as "
    "facebook/dinov2-large",
    "clip": "set networks.clip.model to a transformers folder or hub id such as "
    "openai/clip-vit-large-patch14-336",
    "lpips": "set networks.lpips.weights to torchvision's alexnet-owt-7be5be79.pth of "
    "download.pytorch.org/models",
    "timm": "set networks.timm.name and networks.timm.weights; the hub's timm/<name> has weights",
}
"""Where weights come from, for the reason that a row is left out with."""
_TITLES = {
    "pixels": "pixels", "classifier": "classifier features", "inception": "Inception",
    "dinov2": "DINOv2", "clip": "CLIP", "timm": "timm network",
}  # fmt: skip
_NEEDS: Mapping[str, tuple[Need, ...]] = {
    "pixels": (few_values,),
    "classifier": (real_classes,),
    **{features: (given_network(features),) for features in NETWORKS},
}
_COMPARED: Mapping[str, tuple[str, Measure]] = {
    "frechet": ("Frechet distance", frechet),
    "kernel": ("Kernel distance (KID)", kernel),
    **{name: (name.capitalize(), neighbourhood(name)) for name in NEIGHBOURHOODS},
}


def _entries(features: str) -> Iterator[tuple[str, Entry]]:
    """What compares one kind of features, in the order of `names.py`."""
    needs, of = _NEEDS[features], _TITLES[features]
    for measure, (title, function) in _COMPARED.items():
        yield f"{measure}_{features}", Entry(f"{title}, {of}", features, function, needs)
    nearest = "Nearest training picture, relative to a test picture's"
    if features == PIXELS:
        yield NEARNESS, Entry(nearest, PIXELS, nearness, (training_split,))
    else:
        needs = (*needs, training_split)
        yield nearness_of(features), Entry(f"{nearest}, {of}", features, nearness, needs)


ENTRIES: Mapping[str, Entry] = {
    **{name: entry for features in FEATURES for name, entry in _entries(features)},
    CLASS_ACCURACY: Entry(
        "Recognised as the asked class", LOGITS, class_accuracy, (real_classes, asked_classes)
    ),
    CMMD: Entry("CMMD, CLIP", "clip", cmmd, _NEEDS["clip"]),
    CLIP_SCORE: Entry("CLIP score", "clip", clip_score, (*_NEEDS["clip"], asked_prompts)),
    LPIPS_DIVERSITY: Entry(
        "LPIPS within a prompt or class", LPIPS, lpips_diversity,
        (*_NEEDS[LPIPS], pairs_of_pictures), compares_with_real=False,
    ),
}  # fmt: skip


def title_of(name: str) -> str:
    """The metric for people; one that a later version measured goes by its name."""
    return next((entry.title for known, entry in ENTRIES.items() if known == name), name)


def choose(metrics: Sequence[str], facts: Facts) -> tuple[tuple[str, ...], dict[str, str]]:
    """What can be measured of what was asked for, and why the rest is left out.

    Errors: DataError when nothing can be.
    """
    reasons = {name: ENTRIES[name].missing(facts) for name in metrics}
    skipped: dict[str, str] = {name: reason for name, reason in reasons.items() if reason}
    if not facts.has_training_split:
        skipped[FLOORS] = f"the reference {NO_TRAINING_SPLIT}"
    wanted = tuple(name for name in metrics if name not in skipped)
    if not wanted:
        raise DataError("metrics", list(metrics), f"none can be computed: {skipped}")
    return wanted, skipped


def columns_of(metrics: Sequence[str]) -> tuple[str, ...]:
    """The features that they compare, each once."""
    return tuple(dict.fromkeys(ENTRIES[name].features for name in metrics))


def measure(
    comparison: Comparison, metrics: Sequence[str], settings: MeasuringConfig, *, seed: int
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


def measure_differences(
    comparison: Comparison,
    figures: Mapping[str, Metric],
    others: Mapping[str, Metric],
    settings: MeasuringConfig,
    *,
    seed: int,
) -> dict[str, Difference]:
    """Each figure of the first set less that of the second."""
    differences: dict[str, Difference] = {}
    with progress(len(figures), "measure", "differences") as bar:
        for name, figure in figures.items():
            both = figure, others[name]
            column = ENTRIES[name].features
            differences[name] = difference_of(name, comparison, column, both, settings, seed=seed)
            bar.advance(1)
    return differences
