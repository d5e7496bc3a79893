"""What a study says of its best config: by pairs of runs with one seed, not by their spread."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from darkroom.jobs.artifacts.study import Confirmation, StudyInfo
from darkroom.jobs.tune.page import verdict


def confirmation(values: Sequence[float], num_seeds: int = 3) -> Confirmation:
    seeds = tuple(range(1, num_seeds + 1))
    return Confirmation(seeds=seeds, values=tuple(values), mean=0.0, deviation=None)


def said(
    best: Sequence[float], before: Sequence[float], *, num_seeds: int = 3, larger: bool = False
) -> str:
    info = StudyInfo(
        tuned="train", objective="validation_loss", larger_is_better=larger, axes=(),
        num_trials={}, best_trial=0, best_value=0.0, best={}, rungs=(), worker_seconds=1.0,
        confirmed=confirmation(best, num_seeds), untuned=confirmation(before, num_seeds),
    )  # fmt: skip
    return verdict(info)


def test_seeds_that_differ_more_than_the_configs_hide_no_difference() -> None:
    text = said([0.1901, 0.1817, 0.1426], [0.2102, 0.1967, 0.1575])
    assert text.startswith("The tuned config is better by 0.0167 (95 % interval")
    assert "0.00928 to 0.0241" in text


@pytest.mark.parametrize(
    ("best", "before", "larger", "begins"),
    [
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.31], False, "The tuned config is worse by 0.0967"),
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.31], True, "The tuned config is better by 0.0967"),
        ([0.1, 0.3, 0.2], [0.2, 0.1, 0.3], False, "No difference that these seeds could show: +0 "),
    ],
)
def test_its_sign_is_the_objectives(
    best: list[float], before: list[float], larger: bool, begins: str
) -> None:
    assert said(best, before, larger=larger).startswith(begins)


def test_a_run_that_failed_leaves_no_pairs() -> None:
    assert said([0.1, 0.2], [0.2, 0.3]).startswith("Not every run came to its end")


def test_one_seed_is_no_evidence() -> None:
    assert said([0.1], [0.2], num_seeds=1).startswith("With one seed nothing is sure")
