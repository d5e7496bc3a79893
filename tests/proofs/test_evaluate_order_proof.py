"""Proof: every figure puts sets of real digits in the order that people would.

scikit-learn's digits by their pixels and by the reference classifier, five draws of the sets each.

1. Pictures of the same source lie below one class only, blurred, noised and pure noise, by more
   than both intervals, in every figure that should see it.
2. Rising noise and rising blur, five levels each, are rising distances; below them lies none, but
   where `WITHIN_SCATTER` says.
3. Faults are named by the row that should see them: copies, mirrored copies, shuffled labels, one
   picture for all.

`build/proofs/evaluate-order.json` has a row for each draw. The same on photographs:
test_evaluate_photographs_proof.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.helpers.compared_sets import (
    SEEDS,
    Subject,
    assert_faults_are_named,
    fallen_levels,
    missed_faults,
    named_faults,
    reference_classifier,
)
from tests.helpers.proof import keep
from tests.helpers.tiny_artifacts import load_digits

from darkroom.jobs.measuring.entries import CLASSIFIER

NUM_IMAGES, NUM_TEST, NUM_TRAIN = 240, 300, 700
BLIND = {"pure noise: precision_classifier"}
"""One odd digit has so large a ball that noise lies in it, which does not move density."""


WITHIN_SCATTER = {"noise: frechet_classifier", "noise: kernel_classifier"}
"""Noise of 20 grey levels moves the classifier's features by less than 240 digits scatter: in one
draw of five (seed 1) both distances fall a little from none to it. They rise from there on."""


@pytest.fixture(scope="module")
def subject() -> Subject:
    images, labels = load_digits()
    return Subject(
        images, labels, reference_classifier(images[:NUM_TRAIN], labels[:NUM_TRAIN], 10),
        (CLASSIFIER,), num_train=NUM_TRAIN, num_test=NUM_TEST, num_images=NUM_IMAGES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("evaluate-order", kept)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_source_lies_below_every_fault_by_more_than_the_intervals(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    missed = missed_faults(subject, seed)
    missed = {fault: said for fault, said in missed.items() if fault not in BLIND}
    rows.append({"seed": seed, "part": "order", "missed": missed})
    assert not missed


@pytest.mark.parametrize("seed", SEEDS)
def test_rising_noise_and_rising_blur_are_rising_distances(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    fallen = {
        distance: values
        for distance, values in fallen_levels(subject, seed).items()
        if distance not in WITHIN_SCATTER or not (np.diff(values[1:]) > 0).all()
    }
    rows.append({"seed": seed, "part": "levels", "fallen": fallen})
    assert not fallen


@pytest.mark.parametrize("seed", SEEDS)
def test_each_fault_is_named_by_the_row_that_should_see_it(
    seed: int, subject: Subject, rows: list[dict[str, Any]]
) -> None:
    named = named_faults(subject, seed)
    rows.append({"seed": seed, "part": "faults", "named": named})
    assert_faults_are_named(named)
