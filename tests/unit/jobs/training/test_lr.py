"""Learning-rate shapes and the trackers of validation losses."""

from __future__ import annotations

import pytest

from darkroom.jobs.training.config import LrScheduleConfig
from darkroom.jobs.training.lr import ImprovementTracker, PlateauTracker, scale_at


def shape(kind: str, **values: object) -> list[float]:
    config = LrScheduleConfig.model_validate({"kind": kind, "warmup_steps": 10, **values})
    return [scale_at(step, config, 110) for step in range(111)]


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "step", "plateau"])
def test_warms_up_linearly_to_the_peak(kind: str) -> None:
    scales = shape(kind)
    assert scales[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert scales[10] == pytest.approx(1.0)
    assert all(0.0 <= scale <= 1.0 for scale in scales)


def test_constant_and_plateau_stay_at_the_peak() -> None:
    assert set(shape("constant")[9:]) == set(shape("plateau")[9:]) == {1.0}


@pytest.mark.parametrize(("kind", "half"), [("linear", 0.55), ("cosine", 0.55)])
def test_decays_to_the_final_share(kind: str, half: float) -> None:
    scales = shape(kind, final_scale=0.1)
    assert scales[60] == pytest.approx(half)
    assert scales[110] == pytest.approx(0.1)
    assert scales[10:] == sorted(scales[10:], reverse=True)


def test_step_multiplies_at_each_interval() -> None:
    scales = shape("step", step_every=50, factor=0.5)
    assert (scales[49], scales[50], scales[100]) == (1.0, 0.5, 0.25)


def test_plateau_lowers_the_scale_after_its_patience() -> None:
    tracker = PlateauTracker(factor=0.5, patience=2)
    for loss in (1.0, 0.9, 0.95, 0.95):
        tracker.update(loss)
    assert tracker.scale == 0.5
    tracker.update(0.95)
    assert tracker.scale == 0.5  # the count began anew


def test_improvement_counts_only_what_exceeds_min_delta() -> None:
    tracker = ImprovementTracker(min_delta=0.1)
    assert [tracker.update(loss) for loss in (1.0, 0.95, 0.85, 0.8)] == [True, False, True, False]
    assert tracker.num_since_best == 1
