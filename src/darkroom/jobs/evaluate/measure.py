"""The figures of one evaluation, as the plain values that `metrics.json` holds.

Every figure has its value, N, a bootstrap interval, and a floor: what real pictures score in its
place. Assumes pictures that are read and of one size. What cannot be measured here (a Frechet
distance on huge pixels, accuracy without classes) is left out with its reason, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from darkroom.errors import DataError
from darkroom.jobs.evaluate.config import EvaluateConfig, MetricName
from darkroom.jobs.evaluate.pictures import Pictures, Reference
from darkroom.metrics.bootstrap import Interval, frechet_interval, proportion_interval
from darkroom.metrics.classifier import (
    ReferenceClassifier,
    confusion_matrix,
    train_reference_classifier,
)
from darkroom.metrics.features import (
    MAX_PIXEL_DIM,
    ClassifierFeatures,
    FeatureExtractor,
    PixelFeatures,
)
from darkroom.metrics.floor import Floor, frechet_floor
from darkroom.metrics.frechet import frechet_distance_of_rows
from darkroom.metrics.kernel import kernel_distance, kernel_floor, subset_distances
from darkroom.metrics.neighbours import memorisation, nearest_neighbour_distances
from darkroom.metrics.summary import is_biased

SMALL_DIM = 512
NUM_BINS = 40
CHANCE_MARGIN = 0.1
"""Accuracy is near chance when its interval reaches this share of the way to certainty."""
_OF_PIXELS = ("frechet_pixels", "kernel_pixels")
_OF_CLASSIFIER = ("frechet_classifier", "kernel_classifier", "class_accuracy")
_SMALLEST = 1e-3
"""A resample's median may be 0; less than a grey level of one pixel apart is the same picture."""

Values = dict[str, Any]
Rows = Mapping[str, NDArray[np.float64]]
"""Features (N, D) of the generated, training and test pictures, by these names."""


class Measurement:
    """Generated pictures beside a reference; each metric is computed when asked for."""

    def __init__(self, config: EvaluateConfig, generated: Pictures, reference: Reference) -> None:
        self._config = config
        self._generated, self._reference = generated, reference
        self._images = {
            "generated": torch.from_numpy(generated.images),
            "train": torch.from_numpy(reference.train.images),
            "test": torch.from_numpy(reference.test.images),
        }

    def measure(self, metric: MetricName) -> Values:
        """One metric. Errors: DataError when `missing` names a reason."""
        reason = self.missing(metric)
        if reason:
            raise DataError("metrics", metric, reason)
        measures: Mapping[MetricName, Callable[[], Values]] = {
            "frechet_pixels": lambda: self._of_pixels(self._frechet),
            "frechet_classifier": lambda: self._of_classifier(self._frechet),
            "kernel_pixels": lambda: self._of_pixels(self._kernel),
            "kernel_classifier": lambda: self._of_classifier(self._kernel),
            "class_accuracy": self._class_accuracy,
            "memorisation": self._memorisation,
        }
        return measures[metric]()

    def missing(self, metric: MetricName) -> str:
        """Why the metric cannot be computed; empty when it can."""
        if metric in _OF_PIXELS and self._generated.images[0].size > MAX_PIXEL_DIM:
            return f"pictures have over {MAX_PIXEL_DIM} values"
        if metric in _OF_CLASSIFIER and not self._has_real_classes:
            return "the reference has no classes to train a classifier on"
        if metric == "class_accuracy" and self._generated.labels is None:
            return "the pictures do not say which class was asked for"
        return ""

    @property
    def classifier_facts(self) -> Values | None:
        """The reference classifier's digest and its accuracy on real pictures, if it was used."""
        if "_classifier" not in self.__dict__:
            return None
        right = self._real_right
        return {
            "digest": self._classifier.digest,
            "test_accuracy": float(right.mean()),
            "num_test": len(right),
            "num_train": len(self._reference.train),
        }

    @property
    def _has_real_classes(self) -> bool:
        reference = self._reference
        has_labels = reference.train.labels is not None and reference.test.labels is not None
        return has_labels and len(reference.classes) > 1

    @cached_property
    def _classifier(self) -> ReferenceClassifier:
        labels = _tensor(self._reference.train.labels)
        classifier = train_reference_classifier(
            self._images["train"], labels, len(self._reference.classes), self._config.seed
        )
        wants_gpu = self._config.device != "cpu" and torch.cuda.is_available()
        return classifier.to("cuda" if wants_gpu else "cpu")

    @cached_property
    def _real_right(self) -> NDArray[np.bool_]:
        """Which real test pictures the classifier recognises: (M,)."""
        predicted = self._classifier.predict(self._images["test"]).numpy()
        right: NDArray[np.bool_] = predicted == self._reference.test.labels
        return right

    def _of_pixels(self, distance: Callable[[Rows], Values]) -> Values:
        features = PixelFeatures()
        return _compared(self._rows(features), features.digest, distance)

    def _of_classifier(self, distance: Callable[[Rows], Values]) -> Values:
        return _compared(self._classifier_rows, self._classifier.digest, distance)

    @cached_property
    def _classifier_rows(self) -> Rows:
        """Two distances compare them; the pixels' own rows are too large to keep."""
        return self._rows(ClassifierFeatures(self._classifier))

    def _rows(self, features: FeatureExtractor) -> Rows:
        size = self._config.batch_size
        return {
            name: np.concatenate([features(batch) for batch in torch.split(images, size)])
            for name, images in self._images.items()
        }

    def _kernel(self, rows: Rows) -> Values:
        config = self._config
        n = len(rows["generated"])
        distance = kernel_distance(rows["generated"], rows["test"])
        floor = kernel_floor(
            rows["train"], rows["test"], n, num_draws=config.num_floor_draws, seed=config.seed
        )
        return {
            **_figure(distance.value, n, distance.interval(config.confidence)),
            "floor": self._floor(floor),
            "standard_error": distance.standard_error,
            "subsets": asdict(subset_distances(rows["generated"], rows["test"], seed=config.seed)),
        }

    def _frechet(self, rows: Rows) -> Values:
        config = self._config
        n, dim = rows["generated"].shape
        value = frechet_distance_of_rows(rows["generated"], rows["test"])
        floor = frechet_floor(
            rows["train"], rows["test"], n, num_draws=config.num_floor_draws, seed=config.seed
        )
        interval = frechet_interval(
            rows["generated"], rows["test"], num_resamples=config.num_bootstrap,
            level=config.confidence, seed=config.seed,
        )  # fmt: skip
        return {
            **_figure(value, n, interval),
            "floor": self._floor(floor),
            "ratio": value / floor.value if floor.value else None,
            "biased": is_biased(n, dim),
        }

    def _floor(self, floor: Floor) -> Values:
        reach = NormalDist().inv_cdf(0.5 + self._config.confidence / 2) * floor.spread
        return {
            "value": floor.value,
            "n": floor.n,
            "lower": floor.value - reach if reach else None,
            "upper": floor.value + reach if reach else None,
            "num_draws": floor.num_draws,
        }

    def _class_accuracy(self) -> Values:
        asked = _tensor(self._generated.labels)
        predicted = self._classifier.predict(self._images["generated"])
        right = (predicted == asked).numpy()
        confusion = confusion_matrix(asked, predicted, self._classifier.num_classes)
        real = self._real_right
        names = self._reference.classes
        share, chance = self._share(right), 1 / len(names)
        return {
            **share,
            "floor": self._share(real),
            "chance": chance,
            "near_chance": share["lower"] <= chance + CHANCE_MARGIN * (1 - chance),
            "per_class": [
                {"class": name, **self._share(right[asked.numpy() == index])}
                for index, name in enumerate(names)
                if (asked == index).any()
            ],
            "classes": list(names),
            "confusion": confusion.tolist(),
        }

    def _share(self, right: NDArray[np.bool_]) -> Values:
        config = self._config
        interval = proportion_interval(
            right, num_resamples=config.num_bootstrap, level=config.confidence, seed=config.seed
        )
        return _figure(float(right.mean()), len(right), interval)

    def _memorisation(self) -> Values:
        generated = nearest_neighbour_distances(self._images["generated"], self._images["train"])
        test = nearest_neighbour_distances(self._images["test"], self._images["train"])
        verdict = memorisation(generated, test)
        figures = verdict.figures
        if figures.median_test == 0:
            raise DataError(
                "reference", str(self._reference.artifact.uri),
                "most of its test pictures are also training pictures",
                "prepare it again from pictures without duplicates",
            )  # fmt: skip
        edges = np.linspace(0, max(generated.max(), test.max(), 1e-9), NUM_BINS + 1)
        return {
            **_figure(figures.median_ratio, len(generated), self._ratio_interval(generated, test)),
            "floor": _figure(1.0, len(generated), self._ratio_interval(test, test, len(generated))),
            "memorising": verdict.memorising,
            "decided": verdict.decided,
            "note": verdict.reason,
            "median_generated": figures.median_generated,
            "median_test": figures.median_test,
            "near_share": figures.near_share,
            "near_threshold": figures.near_threshold,
            "copies_share": figures.copies_share,
            "test_copies_share": figures.test_copies_share,
            "histogram": {
                "edges": edges.tolist(),
                "generated": np.histogram(generated, edges)[0].tolist(),
                "test": np.histogram(test, edges)[0].tolist(),
            },
        }

    def _ratio_interval(
        self, above: NDArray[np.float64], below: NDArray[np.float64], size: int | None = None
    ) -> Interval:
        """Percentile bootstrap of median(above) / median(below), `size` of above per resample."""
        random = np.random.default_rng(self._config.seed)
        ratios = [
            np.median(random.choice(above, size or len(above)))
            / max(np.median(random.choice(below, len(below))), _SMALLEST)
            for _ in range(self._config.num_bootstrap)
        ]
        tail = 50 * (1 - self._config.confidence)
        low, high = np.percentile(ratios, [tail, 100 - tail])
        return Interval(float(low), float(high), self._config.confidence)


def _compared(rows: Rows, digest: str, distance: Callable[[Rows], Values]) -> Values:
    dim = rows["generated"].shape[1]
    with _threads_for(dim):
        return {**distance(rows), "dimensions": dim, "features": digest}


def _threads_for(dim: int) -> AbstractContextManager[object]:
    """One BLAS thread for small matrices, whose threads would only wait for each other.

    Measured at 64 dimensions on 2 cores: 0.2 s of CPU time against 2.4 s, and 20 s when busy.
    """
    limits: AbstractContextManager[object] = threadpool_limits(
        1 if dim <= SMALL_DIM else None, user_api="blas"
    )
    return limits


def _figure(value: float, n: int, interval: Interval) -> Values:
    return {"value": value, "n": n, "lower": interval.low, "upper": interval.high}


def _tensor(labels: NDArray[np.int64] | None) -> Tensor:
    if labels is None:
        raise ValueError("labels are missing: `missing` was not asked")
    return torch.from_numpy(labels)
