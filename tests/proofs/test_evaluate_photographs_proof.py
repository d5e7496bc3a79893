"""Proof: on photographs, too, every figure puts sets of pictures in the order that people would.

Tiles of six real photographs (scikit-learn's and scikit-image's), 32 x 32, none over another, made
16 x 16: by their pixels (768), by the reference classifier (which photograph is it of?), and
by EfficientNet-Lite0 with its real weights (1,280). Five draws of the sets each, as in
test_evaluate_order_proof.py, whose three parts these are. What is not seen is named one by one,
with the number of draws in which it was not; the two distances by EfficientNet see everything.

`build/proofs/evaluate-photographs.json` has a row for each draw.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.compared_sets import (
    SEEDS,
    Features,
    Images,
    Subject,
    assert_faults_are_named,
    fallen_levels,
    missed_faults,
    named_faults,
    reference_classifier,
)
from tests.helpers.imagenet import NAME, lite0_weights
from tests.helpers.pictures import PHOTOGRAPHS, photograph
from tests.helpers.proof import keep

from darkroom.config import build_config
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import CLASSIFIER
from darkroom.jobs.measuring.networks import find_networks

TILE, SIDE = 32, 16
NUM_IMAGES, NUM_TEST, NUM_TRAIN = 200, 300, 600
TIMM = "timm"
BLIND = {
    # A blur of 1.3 pixels leaves a photograph's pixels what they were, and takes the scatter that
    # 200 pictures in 768 dimensions have: by Frechet it is nearer than the same source, in all.
    "blurred: frechet_pixels",  # 5 of 5
    "blurred: kernel_pixels",  # 5
    "blurred: kernel_classifier",  # 1
    # Noise of 80 grey levels is less than the kernel distance of 200 pictures scatters.
    "noised: kernel_pixels",  # 5
    # Of one photograph less than a hundred tiles are left, and the figure scatters as much.
    "one class: kernel_pixels",  # 2
    "one class: recall_pixels",  # 4
    "one class: recall_timm",  # 1
    # An odd tile has so large a ball that noise lies in it. Without its block it does not, so the
    # interval goes from 0 to 1.
    "pure noise: precision_classifier",  # 4
    "pure noise: precision_timm",  # 3
    "pure noise: density_classifier",  # 2
    "pure noise: density_timm",  # 2
}
FALLING = {
    "blur: frechet_pixels",  # 5 of 5: down to a blur of 0.9 to 1.3, then up
    "blur: kernel_pixels",  # 3: a straight line within 2e-4
    "noise: kernel_pixels",  # 2: up only from noise of 80 on
    "noise: kernel_classifier",  # 4: never shown noise, it sees 120 as a little less than 80
}


def tiles() -> tuple[Images, Any]:
    """Every tile of every photograph at SIDE, in one order for all draws, and which it is of."""
    pictures, labels = [], []
    for label, name in enumerate(sorted(PHOTOGRAPHS)):
        image = photograph(name)
        for top in range(0, image.height - TILE + 1, TILE):
            for left in range(0, image.width - TILE + 1, TILE):
                tile = image.crop((left, top, left + TILE, top + TILE))
                pictures.append(np.asarray(tile.resize((SIDE, SIDE), Image.Resampling.BOX)))
                labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    images = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    return images[order], np.array(labels, np.int64)[order]


@pytest.fixture(scope="module")
def plain() -> Subject:
    """By pixels and by the reference classifier."""
    images, labels = tiles()
    return Subject(
        images, labels,
        reference_classifier(images[:NUM_TRAIN], labels[:NUM_TRAIN], len(PHOTOGRAPHS)),
        (CLASSIFIER,), num_train=NUM_TRAIN, num_test=NUM_TEST, num_images=NUM_IMAGES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def subject(plain: Subject, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """By EfficientNet-Lite0, too."""
    lite0 = _lite0(lite0_weights(tmp_path_factory.mktemp("weights")))

    def extract(given: Images) -> Features:
        return {**plain.features(given), **lite0(given)}

    return replace(plain, extract=extract, columns=(CLASSIFIER, TIMM), _seen={})


def _lite0(weights: Path) -> Any:
    """As `evaluate` loads it."""
    config = build_config(
        MeasuringConfig,
        {
            "networks": {TIMM: {"name": NAME, "weights": str(weights)}},
            "extractors": {"num_cpus": os.cpu_count() or 1},
        },
    )
    (network,) = find_networks(config, (TIMM,))
    extract = network.load(config.extractors)

    def features(images: Images) -> Features:
        rows = [
            extract(images[start : start + 50], [None] * len(images[start : start + 50]))[TIMM]
            for start in range(0, len(images), 50)
        ]
        return {TIMM: np.concatenate(rows)}

    return features


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("evaluate-photographs", kept)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_source_lies_below_every_fault_by_more_than_the_intervals(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    missed = missed_faults(subject, seed)
    rows.append({"seed": seed, "part": "order", "missed": missed})
    assert set(missed) - BLIND == set()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_rising_noise_and_rising_blur_are_rising_distances(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    fallen = fallen_levels(subject, seed)
    rows.append({"seed": seed, "part": "levels", "fallen": fallen})
    assert set(fallen) - FALLING == set()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_each_fault_is_named_by_the_row_that_should_see_it(
    seed: int, plain: Subject, rows: list[dict[str, Any]]
) -> None:
    named = named_faults(plain, seed)
    rows.append({"seed": seed, "part": "faults", "named": named})
    assert_faults_are_named(named)
