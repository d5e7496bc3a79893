"""Reverse diffusion: DDPM, DDIM and DPM-Solver++ behind one signature.

    sample_*(denoiser, x_T, schedule, *, num_steps, prediction_type, noise, clip, eta, spacing,
             on_step) -> x0

    denoiser         (x_t (B, ...), t (B,) int64) -> the network's prediction (see objective.py)
    x_T              (B, ...) standard normal
    num_steps        how many of the T timesteps to visit; all of them gives the paper's DDPM
    noise            step index -> standard normal like x_T; so each image's own seed can drive it
    clip             clamp the predicted x0 to [-clip, clip]; None leaves it
    eta              DDIM's randomness: 0 deterministic, 1 as random as DDPM; others refuse it
    spacing          which timesteps: see `timesteps`
    on_step          called as on_step(step_index, t, x, x0) after each step, x at the lower noise

Every image is sampled independently of its batch. Assumes a schedule and a network that were
trained together. Leaves guidance (`guidance.py`), seeds (`noise.py`) and pixels to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from darkroom.diffusion.config import (
    DEFAULT_SPACING,
    PredictionType,
    SamplerName,
    Spacing,
    check_prediction_type,
)
from darkroom.diffusion.objective import Denoiser, predict_x0
from darkroom.diffusion.schedule import NoiseSchedule
from darkroom.errors import ConfigError

NoiseSource = Callable[[int], Tensor]
OnStep = Callable[[int, int, Tensor, Tensor], None]


class Sampler(Protocol):
    """The one signature."""

    def __call__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        schedule: NoiseSchedule,
        *,
        num_steps: int,
        prediction_type: PredictionType,
        noise: NoiseSource,
        clip: float | None = 1.0,
        eta: float = 0.0,
        spacing: Spacing = DEFAULT_SPACING,
        on_step: OnStep | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Step:
    """One move of the reverse process, from t to the next lower timestep visited."""

    index: int
    t: int
    alpha_bar: float
    """alpha-bar at t."""
    alpha_bar_prev: float
    """alpha-bar at the timestep after this one; 1 when that is the clean image."""
    last: bool


def timesteps(
    schedule: NoiseSchedule, num_steps: int, spacing: Spacing = DEFAULT_SPACING
) -> list[int]:
    """The timesteps to visit, high to low. Source: Lin et al. 2023, table 2.

    trailing: T-1, T-1 - T/num_steps, ...: starts where the network expects pure noise.
    leading: ..., 2r, r, 0 with r = T // num_steps: ends at the least noisy step, but hands pure
    noise to a network that expects a trace of an image; refused under zero terminal SNR.
    Errors: ConfigError, also for num_steps outside 1 .. T.
    """
    num_timesteps = schedule.num_timesteps
    if not 1 <= num_steps <= num_timesteps:
        raise ConfigError("num_steps", num_steps, f"must be between 1 and {num_timesteps}")
    if spacing == "trailing":
        return [round(num_timesteps * (num_steps - i) / num_steps) - 1 for i in range(num_steps)]
    if schedule.zero_terminal_snr:
        raise ConfigError(
            "spacing", spacing, "skips the last timestep of a zero-terminal-SNR schedule",
            "use trailing",
        )  # fmt: skip
    stride = num_timesteps // num_steps
    return [i * stride for i in reversed(range(num_steps))]


def sample_ddpm(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    num_steps: int,
    prediction_type: PredictionType,
    noise: NoiseSource,
    clip: float | None = 1.0,
    eta: float = 0.0,
    spacing: Spacing = DEFAULT_SPACING,
    on_step: OnStep | None = None,
) -> Tensor:
    """Ancestral sampling. Source: Ho et al. 2020, Algorithm 2, in the x0 form of eq. 7.

    Fewer steps than T run the same chain on the subsequence's own alpha_t = abar_t / abar_prev
    (Nichol & Dhariwal 2021, section 4). The variance is the posterior's.
    """
    _refuse_eta(eta, "ddpm")
    x = x_T
    for step in _steps(schedule, num_steps, prediction_type, spacing):
        x0 = _predict_x0(denoiser, schedule, x, step, prediction_type=prediction_type, clip=clip)
        mean, variance = ddpm_posterior(x, x0, step)
        x = mean if step.last else mean + variance**0.5 * noise(step.index)
        _report(on_step, step, x, x0)
    return x


def sample_ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    num_steps: int,
    prediction_type: PredictionType,
    noise: NoiseSource,
    clip: float | None = 1.0,
    eta: float = 0.0,
    spacing: Spacing = DEFAULT_SPACING,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoising diffusion implicit models. Source: Song et al. 2021, eq. 12 and 16."""
    if not 0 <= eta <= 1:
        raise ConfigError("eta", eta, "must be between 0 and 1")
    x = x_T
    for step in _steps(schedule, num_steps, prediction_type, spacing):
        x0 = _predict_x0(denoiser, schedule, x, step, prediction_type=prediction_type, clip=clip)
        x, sigma = ddim_mean(x, x0, step, eta)
        x = x if sigma == 0 else x + sigma * noise(step.index)
        _report(on_step, step, x, x0)
    return x


def sample_dpm_solver(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    num_steps: int,
    prediction_type: PredictionType,
    noise: NoiseSource,  # noqa: ARG001 - the one signature
    clip: float | None = 1.0,
    eta: float = 0.0,
    spacing: Spacing = DEFAULT_SPACING,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M), diffusers' implementation. Source: Lu et al. 2022, Algorithm 2.

    Deterministic: `noise` is never called. It is fed our x0, so all predictions and the clamp
    behave as in the other samplers; it computes in float32.
    """
    _refuse_eta(eta, "dpm-solver++")
    steps = list(_steps(schedule, num_steps, prediction_type, spacing))
    solver = _dpm_solver(schedule, [step.t for step in steps])
    x = x_T
    for step in steps:
        x0 = _predict_x0(denoiser, schedule, x, step, prediction_type=prediction_type, clip=clip)
        x = solver.step(x0, step.t, x).prev_sample
        _report(on_step, step, x, x0)
    return x


SAMPLERS: Mapping[SamplerName, Sampler] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "dpm-solver++": sample_dpm_solver,
}


def ddpm_posterior(x_t: Tensor, x0: Tensor, step: Step) -> tuple[Tensor, float]:
    """Mean and variance of q(x_prev | x_t, x0). Source: Ho et al. 2020, eq. 6 and 7."""
    alpha = step.alpha_bar / step.alpha_bar_prev
    beta = 1.0 - alpha
    x0_factor = step.alpha_bar_prev**0.5 * beta / (1.0 - step.alpha_bar)
    x_t_factor = alpha**0.5 * (1.0 - step.alpha_bar_prev) / (1.0 - step.alpha_bar)
    variance = (1.0 - step.alpha_bar_prev) / (1.0 - step.alpha_bar) * beta
    return x0_factor * x0 + x_t_factor * x_t, variance


def ddim_mean(x_t: Tensor, x0: Tensor, step: Step, eta: float) -> tuple[Tensor, float]:
    """x_prev without its random part, and that part's sigma.

    eps is what takes x0 to x_t, also after the clamp. With the network's own eps beside a clamped
    x0, x_prev would leave its noise level: guidance, which the clamp cuts most, then falls apart.
    Source: Song et al. 2021, eq. 12; sigma from eq. 16 (eta = 1 is DDPM's posterior).
    """
    before, now = step.alpha_bar_prev, step.alpha_bar
    eps = (x_t - now**0.5 * x0) / (1.0 - now) ** 0.5
    sigma = eta * ((1.0 - before) / (1.0 - now)) ** 0.5 * (1.0 - now / before) ** 0.5
    direction = max(1.0 - before - sigma**2, 0.0) ** 0.5
    return before**0.5 * x0 + direction * eps, sigma


def _steps(
    schedule: NoiseSchedule,
    num_steps: int,
    prediction_type: PredictionType,
    spacing: Spacing,
) -> Iterator[Step]:
    check_prediction_type(prediction_type, zero_terminal_snr=schedule.zero_terminal_snr)
    visited = timesteps(schedule, num_steps, spacing)
    alphas_cumprod = schedule.alphas_cumprod.tolist()
    levels = [alphas_cumprod[t] for t in visited] + [1.0]
    for index, t in enumerate(visited):
        yield Step(index, t, levels[index], levels[index + 1], last=index == len(visited) - 1)


def _predict_x0(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    step: Step,
    *,
    prediction_type: PredictionType,
    clip: float | None,
) -> Tensor:
    """The network's x0 at x, clamped."""
    t = torch.full((len(x),), step.t, dtype=torch.int64)
    output = denoiser(x, t.to(x.device))
    # t beside the tables: the device is never waited for.
    x0 = predict_x0(schedule, output, x, t.to(schedule.betas.device), prediction_type)
    return x0 if clip is None else x0.clamp(-clip, clip)


def _dpm_solver(schedule: NoiseSchedule, visited: list[int]) -> Any:
    # diffusers takes seconds to import; the other samplers do not need it.
    from diffusers import DPMSolverMultistepScheduler

    scheduler_type: Any = DPMSolverMultistepScheduler  # untyped
    solver = scheduler_type(
        num_train_timesteps=schedule.num_timesteps,
        trained_betas=schedule.betas.tolist(),
        algorithm_type="dpmsolver++",
        solver_order=2,
        prediction_type="sample",
        # The rescaling leaves such betas as they are; the flag keeps log(0) out of the solver.
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
    )
    solver.set_timesteps(timesteps=visited)
    return solver


def _refuse_eta(eta: float, sampler: SamplerName) -> None:
    if eta != 0:
        raise ConfigError("eta", eta, f"has no effect with {sampler}", "use ddim, or leave it at 0")


def _report(on_step: OnStep | None, step: Step, x: Tensor, x0: Tensor) -> None:
    if on_step is not None:
        on_step(step.index, step.t, x, x0)
