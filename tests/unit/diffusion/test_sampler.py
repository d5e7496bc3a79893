"""Samplers: every step equal to diffusers', whole trajectories too, and right where the
answer is known in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darkroom.diffusion import SAMPLERS, ImageNoise, NoiseSchedule, PredictionType, Spacing
from darkroom.diffusion.config import SamplerName
from darkroom.diffusion.sampler import sample_ddim, sample_ddpm, sample_dpm_solver
from darkroom.diffusion.schedule import (
    cosine_schedule,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
)
from darkroom.diffusion.spacing import timesteps
from darkroom.errors import ConfigError

SHAPE = (3, 1, 4, 4)
BUILDERS: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "sigmoid": sigmoid_schedule,
    "linear zero-SNR": lambda n: rescale_zero_terminal_snr(linear_schedule(n)),
    "cosine zero-SNR": lambda n: rescale_zero_terminal_snr(cosine_schedule(n)),
}


def step_noise(step_index: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + step_index)
    return torch.randn(SHAPE, generator=generator, dtype=dtype)


def float32_noise(step_index: int) -> Tensor:
    return step_noise(step_index, dtype=torch.float32)


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(7), dtype=dtype)


def denoiser(x: Tensor, t: Tensor) -> Tensor:
    """Some smooth function of x and t, about as large as noise is."""
    phase = t.to(x).reshape(-1, 1, 1, 1) / 100
    return 0.8 * torch.tanh(x) + 0.3 * torch.sin(3 * x + phase)


def objectives(*schedules: str) -> list[tuple[str, PredictionType]]:
    """Schedules with each prediction that they allow."""
    return [
        (schedule, prediction_type)
        for schedule in schedules
        for prediction_type in get_args(PredictionType)
        if not ("zero" in schedule and prediction_type == "epsilon")
    ]


class Grid(NamedTuple):
    schedule: str
    num_timesteps: int
    num_steps: int
    spacing: Spacing

    def build(self) -> NoiseSchedule:
        return BUILDERS[self.schedule](self.num_timesteps)

    def prediction_types(self) -> list[PredictionType]:
        return [prediction_type for _, prediction_type in objectives(self.schedule)]

    def __str__(self) -> str:
        return "-".join(str(part) for part in self)


def grids(*, diffusers_ddim: bool = False) -> list[Grid]:
    """Valid combinations of schedule, numbers of steps, and spacing.

    diffusers' DDIM takes t - T // num_steps for the next timestep, which is not the next one it
    visits where num_steps does not divide T under trailing: left out with `diffusers_ddim`.
    """
    return [
        Grid(name, num_timesteps, num_steps, spacing)
        for name in BUILDERS
        for num_timesteps, num_steps in [(1000, 20), (1000, 7), (40, 40), (9, 1)]
        for spacing in get_args(Spacing)
        if not ("zero" in name and spacing == "leading")
        if not (diffusers_ddim and spacing == "trailing" and num_timesteps % num_steps)
    ]


class Reference:
    """diffusers' scheduler of `to_diffusers`, stepping with the noise of `step_noise`."""

    def __init__(
        self,
        scheduler_type: Any,
        grid: Grid,
        prediction_type: PredictionType,
        *,
        clip: float | None,
        eta: float | None = None,
        exact: bool,
    ) -> None:
        schedule = grid.build()
        config = schedule.to_diffusers(prediction_type, clip=clip)
        self.scheduler = scheduler_type.from_config(config, timestep_spacing=grid.spacing)
        self.scheduler.set_timesteps(grid.num_steps)
        self.eta = eta
        if exact:
            # The same code on our float64 tables: its float32 ones lose digits where alpha-bar
            # nears 0 or 1. That the tables agree to 1e-5 is held by test_schedule.py.
            self.scheduler.alphas_cumprod = schedule.alphas_cumprod

    @property
    def timesteps(self) -> list[int]:
        visited: list[int] = self.scheduler.timesteps.tolist()
        return visited

    def step(self, step_index: int, t: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """The next x and the predicted x0."""
        output = denoiser(x, torch.full((len(x),), t))
        arguments: dict[str, Any]
        if self.eta is None:
            arguments = {"generator": torch.Generator().manual_seed(1000 + step_index)}
        else:
            # As Ho et al.'s code does: eps follows from the clamped x0.
            arguments = {"eta": self.eta, "use_clipped_model_output": True}
            if self.eta > 0:
                arguments["variance_noise"] = step_noise(step_index, dtype=x.dtype)
        found = self.scheduler.step(output, t, x, **arguments)
        return found.prev_sample, found.pred_original_sample

    def trajectory(self, x: Tensor) -> Tensor:
        for step_index, t in enumerate(self.timesteps):
            x, _ = self.step(step_index, t, x)
        return x


class Comparison:
    """An on_step that repeats every step with diffusers, from the same x."""

    def __init__(self, reference: Reference, x: Tensor) -> None:
        self.reference, self.x = reference, x
        self.visited: list[int] = []

    def __call__(self, step_index: int, t: int, after: Tensor, x0: Tensor) -> None:
        expected, expected_x0 = self.reference.step(step_index, t, self.x)
        assert torch.allclose(x0, expected_x0, rtol=1e-9, atol=1e-9)
        # Between nearly clean steps diffusers' 1 - alpha-bar - sigma^2 cancels: 1e-8 at worst.
        assert torch.allclose(after, expected, rtol=1e-7, atol=1e-7)
        self.visited.append(t)
        self.x = after


@pytest.mark.parametrize("grid", grids(), ids=str)
def test_every_ddpm_step_equals_diffusers(grid: Grid) -> None:
    for prediction_type in grid.prediction_types():
        for clip in (None, 1.0):
            reference = Reference(DDPMScheduler, grid, prediction_type, clip=clip, exact=True)
            compare = Comparison(reference, start())
            result = sample_ddpm(
                denoiser, start(), grid.build(), num_steps=grid.num_steps,
                prediction_type=prediction_type, noise=step_noise, clip=clip,
                spacing=grid.spacing, on_step=compare,
            )  # fmt: skip
            assert compare.visited == reference.timesteps
            assert torch.equal(result, compare.x)


@pytest.mark.parametrize("grid", grids(diffusers_ddim=True), ids=str)
def test_every_ddim_step_equals_diffusers(grid: Grid) -> None:
    for prediction_type in grid.prediction_types():
        for clip in (None, 1.0):
            for eta in (0.0, 0.4, 1.0):
                if eta == 1 and "zero" in grid.schedule:
                    continue  # diffusers takes the root of -1e-17 there and returns NaN
                reference = Reference(
                    DDIMScheduler, grid, prediction_type, clip=clip, eta=eta, exact=True
                )
                compare = Comparison(reference, start())
                result = sample_ddim(
                    denoiser, start(), grid.build(), num_steps=grid.num_steps,
                    prediction_type=prediction_type, noise=step_noise, clip=clip, eta=eta,
                    spacing=grid.spacing, on_step=compare,
                )  # fmt: skip
                assert compare.visited == reference.timesteps
                assert torch.equal(result, compare.x)


@pytest.mark.parametrize("grid", grids(), ids=str)
def test_ddim_with_eta_one_is_ddpm(grid: Grid) -> None:
    # Algebraically the same (Song et al. 2021, section 4.1), since eps follows the clamp.
    for prediction_type in grid.prediction_types():
        for clip in (None, 1.0):
            ddpm, ddim = (
                sampler(
                    denoiser, start(), grid.build(), num_steps=grid.num_steps, noise=step_noise,
                    prediction_type=prediction_type, clip=clip, eta=eta, spacing=grid.spacing,
                )
                for sampler, eta in ((sample_ddpm, 0.0), (sample_ddim, 1.0))
            )  # fmt: skip
            torch.testing.assert_close(ddim, ddpm, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheduler_type", [DDPMScheduler, DDIMScheduler])
@pytest.mark.parametrize(
    ("schedule", "prediction_type"),
    objectives("linear", "cosine", "linear zero-SNR", "cosine zero-SNR"),
)
def test_trajectories_equal_diffusers(
    schedule: str, prediction_type: PredictionType, scheduler_type: Any
) -> None:
    grid = Grid(schedule, 1000, 50, "trailing")
    sampler = sample_ddpm if scheduler_type is DDPMScheduler else sample_ddim
    eta = None if scheduler_type is DDPMScheduler else 0.0
    # In float64 on equal tables; then diffusers as it comes, where its own rounding adds up to
    # a twentieth of a grey level.
    for dtype, exact, tolerance in [(torch.float64, True, 1e-5), (torch.float32, False, 4e-4)]:
        ours = sampler(
            denoiser, start(dtype), grid.build(), num_steps=grid.num_steps,
            prediction_type=prediction_type,
            noise=step_noise if exact else float32_noise,
        )  # fmt: skip
        reference = Reference(scheduler_type, grid, prediction_type, clip=1.0, eta=eta, exact=exact)
        torch.testing.assert_close(ours, reference.trajectory(start(dtype)), rtol=0, atol=tolerance)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "linear zero-SNR", "cosine zero-SNR"])
def test_dpm_solver_trajectories_equal_diffusers_on_the_same_timesteps(schedule: str) -> None:
    grid = Grid(schedule, 1000, 20, "trailing")
    reference = Reference(DPMSolverMultistepScheduler, grid, "v_prediction", clip=None, exact=False)
    assert reference.timesteps == timesteps(grid.build(), 20)
    x = start(torch.float32)
    for t in reference.timesteps:
        output = denoiser(x, torch.full((len(x),), t))
        x = reference.scheduler.step(output, t, x).prev_sample
    ours = sample_dpm_solver(
        denoiser, start(torch.float32), grid.build(), num_steps=20,
        prediction_type="v_prediction", noise=float32_noise, clip=None,
    )  # fmt: skip
    # Under zero SNR diffusers takes alpha_T for 2^-12 and we for 0.
    torch.testing.assert_close(ours, x, rtol=0, atol=2e-3 if "zero" in schedule else 4e-4)


# A toy whose perfect denoiser is known: x0 ~ N(MEAN, STD^2) in every pixel.
MEAN, STD = 0.4, 0.25


def gaussian_denoiser(schedule: NoiseSchedule, prediction_type: PredictionType) -> Any:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = schedule.coefficients(schedule.sqrt_alphas_cumprod, t, x)
        s = schedule.coefficients(schedule.sqrt_one_minus_alphas_cumprod, t, x)
        x0 = MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (x - a * MEAN)
        eps = (x - a * x0) / s
        return {"epsilon": eps, "sample": x0, "v_prediction": a * eps - s * x0}[prediction_type]

    return denoise


@pytest.mark.parametrize(
    ("sampler", "num_steps", "spread_error"),
    # How far each sampler's own discretisation may leave the spread at so many steps.
    [("ddpm", 250, 0.04), ("ddim", 100, 0.04), ("dpm-solver++", 50, 0.03)],
)
@pytest.mark.parametrize(("schedule", "prediction_type"), objectives("cosine", "cosine zero-SNR"))
def test_a_perfect_denoiser_gives_the_datas_mean_and_spread(
    schedule: str,
    prediction_type: PredictionType,
    sampler: SamplerName,
    num_steps: int,
    spread_error: float,
) -> None:
    noise_schedule = BUILDERS[schedule](1000)
    generator = torch.Generator().manual_seed(0)
    n = 10_000
    x = SAMPLERS[sampler](
        gaussian_denoiser(noise_schedule, prediction_type),
        torch.randn(n, 1, generator=generator),
        noise_schedule,
        num_steps=num_steps,
        prediction_type=prediction_type,
        noise=lambda _: torch.randn(n, 1, generator=generator),
        clip=None,
    )
    assert x.mean().item() == pytest.approx(MEAN, abs=5 * STD / math.sqrt(n))
    allowed = spread_error + 5 / math.sqrt(2 * n)
    assert x.std().item() == pytest.approx(STD, rel=allowed)


@pytest.mark.parametrize(("sampler", "eta"), [("ddpm", 0), ("ddim", 0), ("ddim", 1),
                                              ("dpm-solver++", 0)])  # fmt: skip
def test_pictures_do_not_depend_on_the_batch(sampler: SamplerName, eta: float) -> None:
    schedule = cosine_schedule(100)

    def draw(seeds: list[int]) -> Tensor:
        noise = ImageNoise(seeds, (1, 4, 4))
        return SAMPLERS[sampler](
            denoiser, noise.initial(), schedule, num_steps=10, prediction_type="epsilon",
            noise=noise, eta=eta,
        )  # fmt: skip

    seeds = [2**63 + 17 * index for index in range(8)]
    together = draw(seeds)
    assert torch.equal(together, torch.cat([draw(seeds[:4]), draw(seeds[4:])]))
    assert torch.equal(together.flip(0), draw(seeds[::-1]))
    assert len({tuple(row.flatten().tolist()) for row in together}) == 8


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_the_clamp_holds_the_predicted_x0(sampler: SamplerName) -> None:
    seen: list[float] = []
    SAMPLERS[sampler](
        denoiser, start(torch.float32), cosine_schedule(100), num_steps=10,
        prediction_type="epsilon", noise=float32_noise, clip=0.5,
        on_step=lambda _index, _t, _x, x0: seen.append(x0.abs().max().item()),
    )  # fmt: skip
    assert len(seen) == 10
    assert max(seen) == 0.5


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_on_step_sees_every_step_and_the_result(sampler: SamplerName) -> None:
    seen: list[tuple[int, int, Tensor]] = []
    result = SAMPLERS[sampler](
        denoiser, start(torch.float32), linear_schedule(100), num_steps=4,
        prediction_type="epsilon", noise=float32_noise,
        on_step=lambda index, t, x, _x0: seen.append((index, t, x.clone())),
    )  # fmt: skip
    assert [(index, t) for index, t, _ in seen] == [(0, 99), (1, 74), (2, 49), (3, 24)]
    assert torch.equal(seen[-1][2], result)


def test_ddpm_asks_for_no_noise_at_the_last_step() -> None:
    asked: list[int] = []

    def noise(step_index: int) -> Tensor:
        asked.append(step_index)
        return float32_noise(step_index)

    sample_ddpm(
        denoiser, start(torch.float32), linear_schedule(100), num_steps=5,
        prediction_type="epsilon", noise=noise,
    )  # fmt: skip
    assert asked == [0, 1, 2, 3]


@given(
    num_timesteps=st.integers(1, 1200),
    share=st.floats(0, 1),
    spacing=st.sampled_from(get_args(Spacing)),
)
def test_timesteps_fall_and_stay_in_range(
    num_timesteps: int, share: float, spacing: Spacing
) -> None:
    num_steps = 1 + int(share * (num_timesteps - 1))
    visited = timesteps(linear_schedule(num_timesteps), num_steps, spacing)
    assert len(visited) == num_steps
    assert all(high > low for high, low in itertools.pairwise(visited))
    assert min(visited) >= 0
    if spacing == "trailing":
        assert visited[0] == num_timesteps - 1
    else:
        assert visited[-1] == 0


@pytest.mark.parametrize("num_steps", [0, -1, 101])
def test_a_wrong_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(ConfigError, match=r"num_steps.*between 1 and 100"):
        timesteps(linear_schedule(100), num_steps)


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_zero_terminal_snr_refuses_epsilon(sampler: SamplerName) -> None:
    with pytest.raises(ConfigError, match=r"prediction_type.*use v_prediction or sample"):
        SAMPLERS[sampler](
            denoiser, start(), BUILDERS["linear zero-SNR"](100), num_steps=5,
            prediction_type="epsilon", noise=step_noise,
        )  # fmt: skip


def test_zero_terminal_snr_refuses_to_skip_its_last_timestep() -> None:
    with pytest.raises(ConfigError, match=r"spacing.*use trailing"):
        timesteps(BUILDERS["linear zero-SNR"](100), 5, "leading")


@pytest.mark.parametrize("sampler", ["ddpm", "dpm-solver++"])
def test_eta_is_refused_where_it_has_no_effect(sampler: SamplerName) -> None:
    with pytest.raises(ConfigError, match=r"eta.*use ddim"):
        SAMPLERS[sampler](
            denoiser, start(), linear_schedule(10), num_steps=5, eta=0.5,
            prediction_type="epsilon", noise=step_noise,
        )  # fmt: skip


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_eta_outside_its_range_is_refused(eta: float) -> None:
    with pytest.raises(ConfigError, match="eta"):
        sample_ddim(
            denoiser, start(), linear_schedule(10), num_steps=5, eta=eta,
            prediction_type="epsilon", noise=step_noise,
        )  # fmt: skip
