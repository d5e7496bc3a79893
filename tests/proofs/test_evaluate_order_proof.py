"""Proof: every figure puts sets of real digits in the order that people would.

scikit-learn's digits by their pixels and by the reference classifier, five draws of the sets each.

1. Pictures of the same source lie below one class only, blurred, noised and pure noise, by more
   than both intervals, in every figure that should see it.
2. Rising noise and rising blur, five levels each, are rising distances.
3. Faults are named by the row that should see them: copies, mirrored copies, shuffled labels, one
   picture for all.

`build/proofs/evaluate-order.json` has a row for each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tests.helpers.proof import keep
from tests.helpers.tiny_artifacts import load_digits

from darkroom.config import build_config
from darkroom.jobs.artifacts.evaluation import Metric
from darkroom.jobs.measuring.comparison import PIXELS, Comparison, PictureSet
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import CLASSIFIER, LOGITS, measure
from darkroom.jobs.measuring.measures import limits_for
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.metrics.classifier import network_input, train_reference_classifier
from darkroom.metrics.features import ScaledRows
from darkroom.metrics.frechet import frechet_distance_between
from darkroom.metrics.kernel import kernel_distance

Images = NDArray[np.uint8]
"""(N, C, H, W)"""

SEEDS = range(5)
NUM_IMAGES, NUM_TEST, NUM_TRAIN = 240, 300, 700
NOISES = (20, 40, 80, 120, 160)
"""Standard deviations in grey levels. Less is less than a figure of this many pictures scatters."""
BLURS = (0.6, 0.9, 1.3, 2.0, 3.0)
"""Standard deviations in pixels."""
NOISE, BLUR = NOISES[2], BLURS[2]
FIDELITY, VARIETY = ("precision", "density"), ("recall", "coverage")
SEEN = {
    "one class": ("frechet", "kernel", *VARIETY),
    "blurred": ("frechet", "kernel"),
    "noised": ("frechet", "kernel"),
    "pure noise": ("frechet", "kernel", *FIDELITY, *VARIETY),
}
"""Which measures should see which fault: blur takes neither fidelity nor variety by its neighbours
in every space, and one class of real pictures is as faithful as all."""
BLIND = {"pure noise: precision_classifier"}
"""One odd digit has so large a ball that noise lies in it, which does not move density."""


@dataclass(frozen=True)
class Subject:
    """Real pictures in two halves, and what they are compared by."""

    images: Images
    labels: NDArray[np.int64]
    columns: tuple[str, ...]
    extract: Any
    settings: MeasuringConfig

    def measure(self, drawn: PictureSet, metrics: Sequence[str], real: Comparison) -> Any:
        """Figures of a set against the real ones."""
        comparison = replace(real, generated=drawn, _made={})
        return measure(comparison, metrics, self.settings, seed=0)


def settings_of(**values: Any) -> MeasuringConfig:
    return build_config(MeasuringConfig, {"num_bootstrap": 40, "num_floor_draws": 2, **values})


def picture_set(subject: Subject, images: Images, labels: NDArray[np.int64]) -> PictureSet:
    pixels = ScaledRows(np.ascontiguousarray(images.reshape(len(images), -1)), 255.0)
    made = {name: ScaledRows(rows) for name, rows in subject.extract(images).items()}
    return PictureSet({PIXELS: pixels, **made}, labels)


def real_side(subject: Subject, order: NDArray[np.int64], *, with_train: bool) -> Comparison:
    """The splits of one draw; its drawn pictures are the rest. Without a training split there are
    no floors, which take most of the time."""
    train, test = order[:NUM_TRAIN], order[NUM_TRAIN : NUM_TRAIN + NUM_TEST]
    tests = picture_set(subject, subject.images[test], subject.labels[test])
    trains = PictureSet({name: ScaledRows(np.empty((0, 0))) for name in tests.features}, None)
    if with_train:
        trains = picture_set(subject, subject.images[train], subject.labels[train])
    channels, height, width = subject.images.shape[1:]
    return Comparison(
        generated=tests, train=trains, test=tests,
        classes=tuple(map(str, range(int(subject.labels.max()) + 1))),
        digests=dict.fromkeys((PIXELS, *subject.columns, LOGITS), "0"),
        shape=ImageShape(height, width, channels),
    )  # fmt: skip


def noised(images: Images, deviation: float, seed: int = 0) -> Images:
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return np.asarray((images + noise).round().clip(0, 255), np.uint8)


def blurred(images: Images, deviation: float) -> Images:
    smooth = gaussian_filter(images.astype(float), (0, 0, deviation, deviation))
    return np.asarray(smooth.round(), np.uint8)


@pytest.fixture(scope="module")
def subject() -> Subject:
    images, labels = load_digits()
    pixels = torch.from_numpy(images[:NUM_TRAIN].copy())
    classifier = train_reference_classifier(
        network_input(pixels), torch.from_numpy(labels[:NUM_TRAIN].copy()), 10
    )

    def classified(given: Images) -> Mapping[str, NDArray[np.float32]]:
        features, logits = classifier(torch.from_numpy(given.copy()))
        return {CLASSIFIER: features.numpy(), LOGITS: logits.numpy()}

    return Subject(images, labels, (CLASSIFIER,), classified, settings_of())


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("evaluate-order", kept)


def drawn_order(subject: Subject, seed: int) -> NDArray[np.int64]:
    """Training pictures stay: the classifier has seen them. The rest is drawn by the seed."""
    rest = np.arange(NUM_TRAIN, len(subject.images))
    return np.concatenate([np.arange(NUM_TRAIN), np.random.default_rng(seed).permutation(rest)])


def apart(same: Metric, other: Metric, *, larger_is_better: bool) -> bool:
    """By more than both intervals."""
    assert None not in (same.lower, same.upper, other.lower, other.upper)
    if larger_is_better:
        return float(same.lower or 0) > float(other.upper or 0)
    return float(same.upper or 0) < float(other.lower or 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_source_lies_below_every_fault_by_more_than_the_intervals(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    order = drawn_order(subject, seed)
    real = real_side(subject, order, with_train=False)
    rest = order[NUM_TRAIN + NUM_TEST :]
    images, labels = subject.images[rest], subject.labels[rest]
    chosen = np.arange(NUM_IMAGES)
    one_class = np.flatnonzero(labels == labels[0])
    one_class = np.resize(one_class, min(NUM_IMAGES, len(one_class)))
    random = np.random.default_rng(seed)
    same = images[chosen]
    sets = {
        "same": same,
        "one class": images[one_class],
        "blurred": blurred(same, BLUR),
        "noised": noised(same, NOISE, seed),
        "pure noise": random.integers(0, 256, same.shape, dtype=np.uint8),
    }
    columns = (PIXELS, *subject.columns)
    names = [f"{kind}_{column}" for column in columns
             for kind in ("frechet", "kernel", *FIDELITY, *VARIETY)]  # fmt: skip
    figures = {
        kind: subject.measure(
            picture_set(subject, given, np.zeros(len(given), np.int64)), names, real
        )
        for kind, given in sets.items()
    }
    missed = []
    for fault, kinds in SEEN.items():
        for figure in names:
            kind = figure.partition("_")[0]
            if kind not in kinds or f"{fault}: {figure}" in BLIND:
                continue
            larger = kind in (*FIDELITY, *VARIETY)
            if not apart(figures["same"][figure], figures[fault][figure], larger_is_better=larger):
                missed.append(
                    f"{fault}: {figure} {_said(figures['same'][figure])} "
                    f"against {_said(figures[fault][figure])}"
                )
    rows.append({"seed": seed, "part": "order", "missed": missed})
    assert not missed, "\n".join(missed)


def _said(metric: Metric) -> str:
    return f"{metric.value:.4g} [{metric.lower:.4g}, {metric.upper:.4g}]"


@pytest.mark.parametrize("seed", SEEDS)
def test_rising_noise_and_rising_blur_are_rising_distances(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    order = drawn_order(subject, seed)
    real = real_side(subject, order, with_train=False)
    images = subject.images[order[NUM_TRAIN + NUM_TEST :][:NUM_IMAGES]]
    distances: dict[str, Callable[[Any, Any], float]] = {
        "frechet": frechet_distance_between,
        "kernel": lambda a, b: kernel_distance(a, b).value,
    }
    fallen = []
    for kind, levels in (
        ("noise", [images, *(noised(images, level, seed) for level in NOISES)]),
        ("blur", [images, *(blurred(images, level) for level in BLURS)]),
    ):
        sets = [picture_set(subject, given, np.zeros(len(given), np.int64)) for given in levels]
        for column in (PIXELS, *subject.columns):
            held = real.test.features[column]
            for distance, function in distances.items():
                with limits_for(held.shape[1]):
                    values = [float(function(one.features[column], held)) for one in sets]
                if not (np.diff(values) > 0).all():
                    fallen.append(f"{kind}: {distance}_{column} {np.round(values, 5).tolist()}")
    rows.append({"seed": seed, "part": "levels", "fallen": fallen})
    assert not fallen, "\n".join(fallen)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_fault_is_named_by_the_row_that_should_see_it(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    order = drawn_order(subject, seed)
    real = real_side(subject, order, with_train=True)
    rest = order[NUM_TRAIN + NUM_TEST :][:NUM_IMAGES]
    random = np.random.default_rng(seed)
    copied = random.permutation(NUM_TRAIN)[:NUM_IMAGES]
    images, labels = subject.images, subject.labels
    names = ["memorisation", "class_accuracy", "recall_pixels", "coverage_pixels"]
    figures = {
        kind: subject.measure(picture_set(subject, given, asked), names, real)
        for kind, given, asked in (
            ("honest", images[rest], labels[rest]),
            ("copies", images[copied], labels[copied]),
            ("mirrored copies", images[copied][..., ::-1], labels[copied]),
            ("noisy copies", noised(images[copied], 8, seed), labels[copied]),
            ("shuffled labels", images[rest], random.permutation(labels[rest])),
            ("one picture", np.repeat(images[rest[:1]], NUM_IMAGES, 0), labels[rest]),
        )
    }
    named = {
        kind: sorted(
            [name for name, is_named in (
                ("memorisation", of["memorisation"].memorising),
                ("class_accuracy", of["class_accuracy"].near_chance),
                ("recall_pixels", of["recall_pixels"].upper < of["recall_pixels"].floor.lower / 2),
                ("coverage_pixels",
                 of["coverage_pixels"].upper < of["coverage_pixels"].floor.lower / 2),
            ) if is_named]
        )
        for kind, of in figures.items()
    }  # fmt: skip
    rows.append({"seed": seed, "part": "faults", "named": named})
    assert named["honest"] == []
    assert named["copies"] == ["memorisation"]
    assert named["noisy copies"] == ["memorisation"]
    assert "memorisation" in named["mirrored copies"]
    assert named["shuffled labels"] == ["class_accuracy"]
    assert {"recall_pixels", "coverage_pixels"} <= set(named["one picture"])
