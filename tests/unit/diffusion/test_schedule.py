"""Schedules and q(x_t | x_0): equal to diffusers, and sound for any parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from darkroom.config import build_config
from darkroom.diffusion import NoiseSchedule, ScheduleConfig, build_schedule
from darkroom.diffusion.schedule import (
    cosine_schedule,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
)
from darkroom.errors import ConfigError

TOLERANCE = 1e-5
KINDS = ["linear", "cosine", "sigmoid"]
NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}
DIFFUSERS: list[Any] = [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler]


def closed_form(kind: str, num_timesteps: int, *, zero_terminal_snr: bool = False) -> NoiseSchedule:
    return build_schedule(
        ScheduleConfig.model_validate(
            {"kind": kind, "num_timesteps": num_timesteps, "zero_terminal_snr": zero_terminal_snr}
        )
    )


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("num_timesteps", [10, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_betas_and_alpha_bar_equal_diffusers_own_schedule(
    kind: str, num_timesteps: int, zero_terminal_snr: bool
) -> None:
    ours = closed_form(kind, num_timesteps, zero_terminal_snr=zero_terminal_snr)
    scheduler_type: Any = DDPMScheduler
    theirs = scheduler_type(
        num_train_timesteps=num_timesteps,
        beta_schedule=NAMES[kind],
        rescale_betas_zero_snr=zero_terminal_snr,
    )
    torch.testing.assert_close(ours.betas, theirs.betas.double(), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(
        ours.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("scheduler_type", DIFFUSERS)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_config_gives_diffusers_the_same_tables(
    kind: str, zero_terminal_snr: bool, scheduler_type: Any
) -> None:
    ours = closed_form(kind, 200, zero_terminal_snr=zero_terminal_snr)
    config = ours.to_diffusers("v_prediction", clip=None)
    theirs = scheduler_type.from_config(config)
    torch.testing.assert_close(
        ours.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=0, atol=TOLERANCE
    )
    assert theirs.config.num_train_timesteps == 200
    assert theirs.config.prediction_type == "v_prediction"
    assert theirs.config.timestep_spacing == "trailing"
    assert theirs.config.rescale_betas_zero_snr == zero_terminal_snr


def test_a_schedule_without_a_name_travels_as_its_betas() -> None:
    ours = cosine_schedule(50, s=0.02)
    scheduler_type: Any = DDIMScheduler
    theirs = scheduler_type.from_config(ours.to_diffusers())
    torch.testing.assert_close(ours.betas, theirs.betas.double(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_q_sample_equals_diffusers_add_noise(kind: str, zero_terminal_snr: bool) -> None:
    ours = closed_form(kind, 1000, zero_terminal_snr=zero_terminal_snr)
    scheduler_type: Any = DDPMScheduler
    theirs = scheduler_type(beta_schedule=NAMES[kind], rescale_betas_zero_snr=zero_terminal_snr)
    x0, noise = torch.rand(2, 1000, 1, 2, 2) * 2 - 1
    t = torch.arange(1000)
    # diffusers rescales the cosine schedule in float32 and so misses sqrt(1 - alpha-bar_0),
    # which is 0.006, by 1.2e-5.
    tolerance = 2 * TOLERANCE if kind == "cosine" and zero_terminal_snr else TOLERANCE
    torch.testing.assert_close(
        ours.q_sample(x0, t, noise), theirs.add_noise(x0, noise, t), rtol=0, atol=tolerance
    )


def test_linear_schedule_is_the_papers() -> None:
    betas = linear_schedule().betas
    assert (betas[0].item(), betas[-1].item()) == pytest.approx((1e-4, 0.02))
    torch.testing.assert_close(betas.diff(), torch.full((999,), (0.02 - 1e-4) / 999).double())


def test_cosine_schedule_is_the_papers() -> None:
    alpha_bar = cosine_schedule(1000).alphas_cumprod

    def f(step: int) -> float:
        return math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 250, 500, 990):
        assert alpha_bar[t].item() == pytest.approx(f(t + 1) / f(0), rel=1e-9)
    assert cosine_schedule(1000).betas.max().item() == 0.999


@pytest.mark.parametrize("build", [linear_schedule, cosine_schedule, sigmoid_schedule])
def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_start(build: Any) -> None:
    before = build(1000)
    after = rescale_zero_terminal_snr(before)
    assert after.zero_terminal_snr
    assert not before.zero_terminal_snr
    assert after.snr[-1].item() == 0.0
    assert after.alphas_cumprod[0].item() == pytest.approx(before.alphas_cumprod[0].item())
    x0, noise = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(after.q_sample(x0, torch.tensor([999, 999]), noise), noise)


def test_epsilon_cannot_be_exported_with_zero_terminal_snr() -> None:
    with pytest.raises(ConfigError, match=r"prediction_type.*v_prediction or sample"):
        rescale_zero_terminal_snr(linear_schedule()).to_diffusers("epsilon")


def test_a_schedule_whose_signal_vanishes_early_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"signal vanishes.*lower beta_end"):
        linear_schedule(1000, 0.1, 0.9)


def test_a_beta_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="every beta"):
        NoiseSchedule(torch.tensor([0.1, -0.1], dtype=torch.float64))
    with pytest.raises(ValueError, match="float64"):
        NoiseSchedule(torch.tensor([0.1, 0.2]))


def test_coefficients_take_the_images_dtype_and_shape() -> None:
    schedule = linear_schedule(10)
    x0 = torch.zeros(3, 1, 2, 2, dtype=torch.bfloat16)
    table = schedule.coefficients(schedule.sqrt_alphas_cumprod, torch.tensor([0, 4, 9]), x0)
    assert table.shape == (3, 1, 1, 1)
    assert table.dtype == torch.bfloat16
    assert schedule.alphas_cumprod.dtype == torch.float64


@st.composite
def schedules(draw: st.DrawFn) -> NoiseSchedule:
    kind = draw(st.sampled_from(KINDS))
    num_timesteps = draw(st.integers(1, 400))
    low = draw(st.floats(1e-6, 0.04))
    high = draw(st.floats(1e-5, 0.1))
    assume(low < high)
    zero = draw(st.booleans()) and num_timesteps > 1
    return build_schedule(
        ScheduleConfig.model_validate(
            {
                "kind": kind,
                "num_timesteps": num_timesteps,
                "beta_start": low,
                "beta_end": high,
                "zero_terminal_snr": zero,
            }
        )
    )


@given(schedules())
def test_alpha_bar_falls_within_zero_and_one(schedule: NoiseSchedule) -> None:
    alpha_bar = schedule.alphas_cumprod
    assert bool((alpha_bar < 1).all())
    assert bool((alpha_bar.diff() < 0).all())
    assert bool((alpha_bar >= 0).all())
    assert (alpha_bar[-1].item() == 0) == schedule.zero_terminal_snr
    assert bool((schedule.snr.diff() < 0).all())


@given(schedules())
def test_q_sample_keeps_unit_variance(schedule: NoiseSchedule) -> None:
    a, s = schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod
    torch.testing.assert_close(a**2 + s**2, torch.ones_like(a))


@settings(max_examples=15)
@given(schedules(), st.floats(-1, 1), st.integers(0, 2**32 - 1), st.data())
def test_q_sample_has_the_moments_of_q(
    schedule: NoiseSchedule, value: float, seed: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(0, schedule.num_timesteps - 1))
    n = 20_000
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x_t = schedule.q_sample(torch.full_like(noise, value), torch.full((n,), t), noise)
    spread = math.sqrt(1 - schedule.alphas_cumprod[t].item())
    # Six standard errors: a sound sampler fails once in 10^9 draws.
    mean_error = abs(x_t.mean().item() - math.sqrt(schedule.alphas_cumprod[t].item()) * value)
    assert mean_error <= 6 * spread / math.sqrt(n) + 1e-12
    assert abs(x_t.std().item() - spread) <= 6 * spread / math.sqrt(2 * n) + 1e-12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta_start": 0.02, "beta_end": 0.01}, "beta_end.*above beta_start"),
        ({"beta_start": 0.02, "beta_end": 0.02}, "beta_end.*above beta_start"),
        ({"num_timesteps": 0}, "num_timesteps"),
        ({"num_timesteps": 1, "zero_terminal_snr": True}, "zero_terminal_snr.*at least 2"),
        ({"beta_end": 1.0}, "beta_end"),
        ({"beta_start": 0.0}, "beta_start"),
        ({"kind": "quadratic"}, "kind"),
    ],
)
def test_a_wrong_config_names_the_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(ScheduleConfig, values)
