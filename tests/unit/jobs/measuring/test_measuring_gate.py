"""What a gate can judge, how it judges, and what it refuses in one line."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.config import build_config
from darkroom.errors import ConfigError, DataError, GateError
from darkroom.jobs.artifacts.evaluation import Difference, Metric
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.measuring.config import GateConfig
from darkroom.jobs.measuring.gate import check_gate, check_measured, check_met, judge

REFERENCE = "a" * 64
PLACES = {"input": "/in", "reference": "/ref", "output": "/out"}


def config(*require: str, **values: Any) -> EvaluateConfig:
    return build_config(EvaluateConfig, {**PLACES, "require": list(require), **values})


def check(*require: str, num_images: int = 5000, skipped: Any = None) -> None:
    made = config(*require)
    metrics = [name for name in made.wanted if name not in (skipped or {})]
    check_gate(
        made.require, GateConfig(), metrics=metrics, skipped=skipped or {},
        num_images=num_images, reference=REFERENCE,
    )  # fmt: skip


def metric(value: float, lower: float | None, upper: float | None) -> Metric:
    return Metric(value=value, n=100, lower=lower, upper=upper, floor=None)


def test_a_requirement_is_kept_under_the_one_name_of_its_figure() -> None:
    assert config("kid_inception < 0.010", "clip_score>=28").require == (
        "kernel_inception<0.01", "clip_score>=28",
    )  # fmt: skip
    assert "kernel_inception" in config("kid_inception<1").wanted


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("kid_pixels < against", "kernel_pixels<against"),
        ("class_accuracy>against-0.010", "class_accuracy>against-0.01"),
        ("fid_pixels<=against+1e-3", "frechet_pixels<=against+0.001"),
    ],
)
def test_a_requirement_may_name_the_second_set(text: str, spelt: str) -> None:
    assert config(text).require == (spelt,)
    assert config(spelt).require == (spelt,)


@pytest.mark.parametrize(
    ("text", "ends", "met"),
    [
        ("kid_pixels<against", (-0.02, -0.001), True),
        ("kid_pixels<against", (-0.02, 0.001), False),
        ("kid_pixels<against+0.01", (-0.02, 0.001), True),
        ("kid_pixels>against-0.01", (-0.02, 0.001), False),
    ],
)
def test_the_difference_is_judged_by_its_bad_end(
    text: str, ends: tuple[float, float], met: bool
) -> None:
    made = config(text)
    difference = Difference(
        value=-0.01, n=9, lower=ends[0], upper=ends[1], is_paired=True, better=None, interval=""
    )
    metrics = {"kernel_pixels": metric(5.0, None, None)}
    (verdict,) = judge(made.require, metrics, {"kernel_pixels": difference})
    assert verdict.met is met
    assert verdict.reason.startswith("difference -0.01, interval")


def test_a_difference_needs_a_second_set_and_as_many_pictures_where_those_count() -> None:
    def check_against(text: str, num_against: int | None) -> None:
        made = config(text)
        check_gate(
            made.require, GateConfig(), metrics=made.wanted, skipped={}, num_images=5000,
            reference=REFERENCE, num_against=num_against,
        )  # fmt: skip

    with pytest.raises(ConfigError, match=r"there is no second set .* --against"):
        check_against("kid_pixels<against", None)
    check_against("kid_pixels<against", 70)
    with pytest.raises(ConfigError, match="5000 here, 4000 there; give as many of both"):
        check_against("fid_pixels<against", 4000)
    check_against("fid_pixels<against", 5000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kid_inception<againts", "compares with 'againts', which is no number"),
        ("kid_inception<against0.1", "compares with 'against0.1', which is no number"),
        ("kid_inceptoin<0.01", "no figure is called 'kid_inceptoin'; did you mean 'kid_inception'"),
        ("kid_inception", "is no requirement; write one as kid_inception<0.01"),
        ("kid_inception=1", "is no requirement"),
        ("kid_inception<much", "compares with 'much', which is no number"),
        ("kid_inception<nan", "compares with 'nan', which is no number"),
    ],
)
def test_what_is_no_requirement_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"require\.0.*") as caught:
        config(text)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "ends", "met"),
    [
        ("kid_pixels<0.01", (0.002, 0.009), True),
        ("kid_pixels<0.01", (0.002, 0.011), False),
        ("kid_pixels<=0.01", (0.002, 0.01), True),
        ("clip_score>28", (28.5, 30.0), True),
        ("clip_score>28", (27.5, 30.0), False),
        ("clip_score>28", (None, None), True),
    ],
)
def test_the_bad_end_of_the_interval_is_judged(text: str, ends: Any, met: bool) -> None:
    made = config(text)
    name = made.wanted[-1] if "clip" in text else "kernel_pixels"
    (verdict,) = judge(made.require, {name: metric(29 if "clip" in text else 0.005, *ends)})
    assert verdict.met is met
    if met:
        check_met([verdict], "s3://b/e")
        return
    with pytest.raises(GateError, match=r"s3://b/e is published and does not pass: .* is not met"):
        check_met([verdict], "s3://b/e")
    assert GateError.exit_code == 3


def test_a_frechet_distance_of_few_pictures_is_not_judged() -> None:
    with pytest.raises(ConfigError, match=r"of 100 pictures is mostly.*require kid_pixels"):
        check("fid_pixels<10", num_images=100)


@pytest.mark.parametrize("name", ["fid_pixels", "precision_pixels", "coverage_classifier"])
def test_what_moves_with_the_number_needs_it_fixed(name: str) -> None:
    with pytest.raises(ConfigError, match=f"gate.num_images=5000 .*gate.reference={REFERENCE}"):
        check(f"{name}<10")
    fixed(name, num_images=5000, reference=REFERENCE)
    with pytest.raises(ConfigError, match=r"gate.num_images: got 4000, the input has 5000"):
        fixed(name, num_images=4000, reference=REFERENCE)
    with pytest.raises(ConfigError, match=f"gate.reference: .*the reference is {REFERENCE}"):
        fixed(name, num_images=5000, reference="b" * 64)


def fixed(name: str, **gate: Any) -> None:
    made = config(f"{name}<10")
    check_gate(
        made.require, build_config(GateConfig, gate), metrics=made.wanted, skipped={},
        num_images=5000, reference=REFERENCE,
    )  # fmt: skip


def test_a_figure_without_bias_is_judged_of_any_number() -> None:
    check("kid_pixels<0.01", num_images=100)
    check("class_accuracy>0.9", num_images=100)


def test_what_is_not_measured_cannot_be_judged() -> None:
    reason = "networks.clip is not given"
    with pytest.raises(ConfigError, match=f"cannot be judged: {reason}"):
        check("clip_score>28", skipped={"clip_score": reason})
    made = config("clip_score>28", metrics=["frechet_pixels"])
    with pytest.raises(ConfigError, match="clip_score is not measured; add it to metrics"):
        check_gate(
            made.require, made.gate, metrics=made.wanted, skipped={}, num_images=9, reference=""
        )


def test_pictures_that_could_not_be_read_undo_a_fixed_number() -> None:
    check_measured(GateConfig(), 7)
    check_measured(GateConfig(num_images=7), 7)
    with pytest.raises(DataError, match="7 pictures could be measured"):
        check_measured(GateConfig(num_images=8), 7)
