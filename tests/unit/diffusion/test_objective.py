"""Targets, conversions, weights and the loss."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from darkroom.diffusion import PredictionType, diffusion_loss
from darkroom.diffusion.config import check_prediction_type
from darkroom.diffusion.objective import min_snr_weight, predict_x0, target
from darkroom.diffusion.schedule import (
    cosine_schedule,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
)
from darkroom.errors import ConfigError

PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)
BUILDERS: list[Any] = [linear_schedule, cosine_schedule, sigmoid_schedule]


def images(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x0 in [-1, 1] and standard normal noise, float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, 3, 3)
    x0 = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return x0, torch.randn(shape, generator=generator, dtype=torch.float64)


@given(
    build=st.sampled_from(BUILDERS),
    num_timesteps=st.integers(2, 300),
    prediction_type=st.sampled_from(PREDICTION_TYPES),
    zero_terminal_snr=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_perfect_prediction_gives_x0_back(
    build: Any,
    num_timesteps: int,
    prediction_type: PredictionType,
    zero_terminal_snr: bool,
    seed: int,
) -> None:
    schedule = build(num_timesteps)
    if zero_terminal_snr and prediction_type != "epsilon":
        schedule = rescale_zero_terminal_snr(schedule)
    x0, noise = images(num_timesteps, seed=seed)
    t = torch.arange(num_timesteps)
    output = target(schedule, x0, t, noise, prediction_type)
    x_t = schedule.q_sample(x0, t, noise)
    found = predict_x0(schedule, output, x_t, t, prediction_type)
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("build", BUILDERS)
def test_the_velocity_equals_diffusers(build: Any) -> None:
    schedule = build(1000)
    scheduler_type: Any = DDPMScheduler
    theirs = scheduler_type.from_config(schedule.to_diffusers())
    x0, noise = images(1000)
    t = torch.arange(1000)
    torch.testing.assert_close(
        target(schedule, x0, t, noise, "v_prediction"),
        theirs.get_velocity(x0, noise, t),
        rtol=0,
        atol=1e-5,
    )


def test_the_snr_equals_diffusers() -> None:
    schedule = linear_schedule()
    scheduler_type: Any = DDPMScheduler
    theirs = compute_snr(scheduler_type.from_config(schedule.to_diffusers()), torch.arange(1000))
    torch.testing.assert_close(schedule.snr.float(), theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("prediction_type", "expected"),
    [
        ("epsilon", [1.0, 1.0, 1.0, 0.5]),
        ("sample", [0.0, 1.0, 5.0, 5.0]),
        ("v_prediction", [0.0, 1 / 2, 5 / 6, 5 / 11]),
    ],
)
def test_min_snr_weights_are_the_papers(
    prediction_type: PredictionType, expected: list[float]
) -> None:
    snr = torch.tensor([0.0, 1.0, 5.0, 10.0])
    weights = min_snr_weight(snr, 5.0, prediction_type)
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_weights_make_one_and_the_same_loss_on_x0(prediction_type: PredictionType) -> None:
    # Whatever is predicted, the weighted loss of an x0 that is off by d is min(SNR, gamma) d^2.
    schedule, d = cosine_schedule(100), 0.01
    x0, noise = images(100)
    t = torch.arange(100)
    x_t = schedule.q_sample(x0, t, noise)
    a = schedule.coefficients(schedule.sqrt_alphas_cumprod, t, x0)
    s = schedule.coefficients(schedule.sqrt_one_minus_alphas_cumprod, t, x0)
    wrong_x0 = x0 + d
    wrong_eps = (x_t - a * wrong_x0) / s
    output = {
        "epsilon": wrong_eps,
        "sample": wrong_x0,
        "v_prediction": a * wrong_eps - s * wrong_x0,
    }[prediction_type]
    error = (output - target(schedule, x0, t, noise, prediction_type)).square().flatten(1).mean(1)
    loss = error * min_snr_weight(schedule.snr, 5.0, prediction_type)
    torch.testing.assert_close(loss, schedule.snr.clamp(max=5.0) * d**2, rtol=1e-6, atol=0)


def test_the_loss_is_per_sample_and_float32() -> None:
    schedule = linear_schedule(10)
    x0, noise = images(4)
    t = torch.tensor([0, 3, 6, 9])
    output = noise.clone()
    output[2] += 2.0
    loss = diffusion_loss(
        output.bfloat16(), x0=x0, t=t, noise=noise.bfloat16(), schedule=schedule,
        prediction_type="epsilon",
    )  # fmt: skip
    assert loss.dtype == torch.float32
    assert loss.shape == (4,)
    assert loss[2].item() == pytest.approx(4.0, rel=0.02)
    assert loss[[0, 1, 3]].tolist() == [0.0, 0.0, 0.0]


def test_the_loss_weighs_by_each_samples_own_timestep() -> None:
    schedule = linear_schedule(1000)
    x0, noise = images(3)
    t = torch.tensor([0, 500, 999])
    plain, weighted = (
        diffusion_loss(
            noise + 1, x0=x0, t=t, noise=noise, schedule=schedule,
            prediction_type="epsilon", min_snr_gamma=gamma,
        )
        for gamma in (None, 5.0)
    )  # fmt: skip
    expected = plain * (5.0 / schedule.snr[t]).clamp(max=1.0).float()
    torch.testing.assert_close(weighted, expected)
    assert weighted[0] < 0.01 * plain[0]
    assert weighted[2] == plain[2]


def test_epsilon_is_refused_under_zero_terminal_snr() -> None:
    with pytest.raises(ConfigError, match=r"epsilon.*zero_terminal_snr.*use v_prediction"):
        check_prediction_type("epsilon", zero_terminal_snr=True)
    check_prediction_type("v_prediction", zero_terminal_snr=True)
    check_prediction_type("epsilon", zero_terminal_snr=False)
