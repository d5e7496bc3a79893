"""Sets of real pictures with known faults, and what `evaluate`'s figures say of them.

A subject is real pictures with labels and the networks that see them. Each draw deals them into a
training, a test and a drawn set by a seed; the training pictures stay, for the classifier has seen
them. What is found wrong comes back as lines: a proof holds them to be none, or to be those that it
names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

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
Features = Mapping[str, NDArray[np.float32]]

SEEDS = range(5)
"""Draws of the sets."""
NOISES = (20, 40, 80, 120, 160)
"""Standard deviations in grey levels. Less is less than a figure of some hundred pictures
scatters."""
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


@dataclass(frozen=True)
class Subject:
    """Real pictures, what sees them, and how many are dealt into which set."""

    images: Images
    labels: NDArray[np.int64]
    extract: Callable[[Images], Features]
    columns: tuple[str, ...]
    """What is compared beside pixels."""
    num_train: int
    num_test: int
    num_images: int
    """Of a drawn set."""
    _seen: dict[bytes, Features] = field(default_factory=dict)

    def features(self, images: Images) -> Features:
        """Those of pictures that were seen before are not made again."""
        key = hashlib.sha256(images.tobytes()).digest()
        if key not in self._seen:
            self._seen[key] = self.extract(images)
        return self._seen[key]

    def order(self, seed: int) -> NDArray[np.int64]:
        """Indices of the training pictures, the test pictures, and the rest."""
        rest = np.arange(self.num_train, len(self.images))
        drawn = np.random.default_rng(seed).permutation(rest)
        return np.concatenate([np.arange(self.num_train), drawn])

    def rest(self, seed: int) -> NDArray[np.int64]:
        """Indices of what neither split has."""
        return self.order(seed)[self.num_train + self.num_test :]


def settings_of(**values: Any) -> MeasuringConfig:
    return build_config(MeasuringConfig, {"num_bootstrap": 40, "num_floor_draws": 2, **values})


def picture_set(subject: Subject, images: Images, labels: NDArray[np.int64]) -> PictureSet:
    pixels = ScaledRows(np.ascontiguousarray(images.reshape(len(images), -1)), 255.0)
    made = {name: ScaledRows(rows) for name, rows in subject.features(images).items()}
    return PictureSet({PIXELS: pixels, **made}, labels)


def real_side(subject: Subject, seed: int, *, with_train: bool) -> Comparison:
    """The splits of one draw. Without a training split there are no floors, which take most of the
    time."""
    order = subject.order(seed)
    train, test = order[: subject.num_train], order[subject.num_train :][: subject.num_test]
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


def figures_of(
    subject: Subject, real: Comparison, images: Images, labels: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, Metric]:  # fmt: skip
    """Figures of a drawn set against the real ones."""
    drawn = picture_set(subject, images, labels)
    return measure(replace(real, generated=drawn, _made={}), names, settings_of(), seed=0)


def noised(images: Images, deviation: float, seed: int = 0) -> Images:
    """Deviation in grey levels."""
    noise = np.random.default_rng(seed).normal(0, deviation, images.shape)
    return np.asarray((images + noise).round().clip(0, 255), np.uint8)


def blurred(images: Images, deviation: float) -> Images:
    """Deviation in pixels."""
    smooth = gaussian_filter(images.astype(float), (0, 0, deviation, deviation))
    return np.asarray(smooth.round(), np.uint8)


def reference_classifier(
    images: Images, labels: NDArray[np.int64], num_classes: int
) -> Callable[[Images], Features]:
    """Trained on these."""
    classifier = train_reference_classifier(
        network_input(torch.from_numpy(images.copy())), torch.from_numpy(labels.copy()), num_classes
    )

    def classified(given: Images) -> Features:
        features, logits = classifier(torch.from_numpy(given.copy()))
        return {CLASSIFIER: features.numpy(), LOGITS: logits.numpy()}

    return classified


def missed_faults(subject: Subject, seed: int) -> dict[str, str]:
    """`fault: figure` -> what it says, where the same source does not lie below the fault by more
    than both intervals."""
    real, rest = real_side(subject, seed, with_train=False), subject.rest(seed)
    images, labels = subject.images[rest], subject.labels[rest]
    one_class = np.flatnonzero(labels == labels[0])[: subject.num_images]
    same = images[: subject.num_images]
    sets = {
        "same": same,
        "one class": images[one_class],
        "blurred": blurred(same, BLUR),
        "noised": noised(same, NOISE, seed),
        "pure noise": np.random.default_rng(seed).integers(0, 256, same.shape, dtype=np.uint8),
    }
    names = [f"{kind}_{column}" for column in (PIXELS, *subject.columns)
             for kind in ("frechet", "kernel", *FIDELITY, *VARIETY)]  # fmt: skip
    found = {
        kind: figures_of(subject, real, given, np.zeros(len(given), np.int64), names)
        for kind, given in sets.items()
    }
    missed = {}
    for fault, kinds in SEEN.items():
        for figure in names:
            kind = figure.partition("_")[0]
            ours, theirs = found["same"][figure], found[fault][figure]
            larger = kind in (*FIDELITY, *VARIETY)
            if kind in kinds and not _apart(ours, theirs, larger_is_better=larger):
                missed[f"{fault}: {figure}"] = f"{_said(ours)} against {_said(theirs)}"
    return missed


def _apart(same: Metric, other: Metric, *, larger_is_better: bool) -> bool:
    """By more than both intervals."""
    assert None not in (same.lower, same.upper, other.lower, other.upper)
    if larger_is_better:
        return float(same.lower or 0) > float(other.upper or 0)
    return float(same.upper or 0) < float(other.lower or 0)


def _said(metric: Metric) -> str:
    return f"{metric.value:.4g} [{metric.lower:.4g}, {metric.upper:.4g}]"


def fallen_levels(subject: Subject, seed: int) -> dict[str, list[float]]:
    """`kind: distance` -> the distances at rising levels, where they do not rise."""
    real, rest = real_side(subject, seed, with_train=False), subject.rest(seed)
    images = subject.images[rest[: subject.num_images]]
    distances: dict[str, Callable[[Any, Any], float]] = {
        "frechet": frechet_distance_between,
        "kernel": lambda a, b: kernel_distance(a, b).value,
    }
    fallen = {}
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
                    fallen[f"{kind}: {distance}_{column}"] = np.round(values, 5).tolist()
    return fallen


def named_faults(subject: Subject, seed: int) -> dict[str, list[str]]:
    """Kind of set -> the rows that name a fault in it."""
    real, rest = real_side(subject, seed, with_train=True), subject.rest(seed)
    rest = rest[: subject.num_images]
    random = np.random.default_rng(seed)
    copied = random.permutation(subject.num_train)[: subject.num_images]
    images, labels = subject.images, subject.labels
    names = ["memorisation", "class_accuracy", "recall_pixels", "coverage_pixels"]
    found = {
        kind: figures_of(subject, real, given, asked, names)
        for kind, given, asked in (
            ("honest", images[rest], labels[rest]),
            ("copies", images[copied], labels[copied]),
            ("mirrored copies", images[copied][..., ::-1], labels[copied]),
            ("noisy copies", noised(images[copied], 8, seed), labels[copied]),
            ("shuffled labels", images[rest], random.permutation(labels[rest])),
            ("one picture", np.repeat(images[rest[:1]], len(rest), 0), labels[rest]),
        )
    }
    return {kind: _named(of) for kind, of in found.items()}


def assert_faults_are_named(named: Mapping[str, Sequence[str]]) -> None:
    """Each kind of set by the rows that should see its fault; see `named_faults`."""
    assert named["honest"] == [], named
    assert named["copies"] == ["memorisation"], named
    assert named["noisy copies"] == ["memorisation"], named
    assert "memorisation" in named["mirrored copies"], named
    assert named["shuffled labels"] == ["class_accuracy"], named
    assert {"recall_pixels", "coverage_pixels"} <= set(named["one picture"]), named


def _named(of: Mapping[str, Metric]) -> list[str]:
    low = [name for name in ("recall_pixels", "coverage_pixels") if _is_half_of_real(of[name])]
    return sorted(
        [
            *(["memorisation"] if of["memorisation"].memorising else []),
            *(["class_accuracy"] if of["class_accuracy"].near_chance else []),
            *low,
        ]
    )


def _is_half_of_real(metric: Metric) -> bool:
    assert metric.upper is not None
    assert metric.floor is not None
    assert metric.floor.lower is not None
    return bool(metric.upper < metric.floor.lower / 2)
