"""Reverse diffusion: DDPM, DDIM and DPM-Solver++ behind one signature.

    sample_*(denoiser, x_T, schedule, *, num_steps, prediction_type, noise, clip, eta, spacing,
             on_step) -> x0

    denoiser         (x_t (B, ...), t (B,) int64) -> the network's prediction (see objective.py)
    x_T              (B, ...) standard normal
    num_steps        how many of the T timesteps to visit; all of them gives the paper's DDPM
    noise            step index -> standard normal like x_T; so each image's own seed can drive it
    clip             clamp the predicted x0 to [-clip, clip]; None leaves it
    eta              DDIM's randomness: 0 deterministic, 1 as random as DDPM; others refuse it
    spacing          which timesteps: see `steps.timesteps`
    on_step          called as on_step(step_index, t, x, x0) after each step, x at the lower noise

Every image is sampled independently of its batch. Assumes a schedule and a network that were
trained together. The steps themselves are those of `steps.py`. Leaves guidance (`guidance.py`),
seeds (`noise.py`) and pixels to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from torch import Tensor

from darkroom.diffusion.config import DEFAULT_SPACING, PredictionType, SamplerName, Spacing
from darkroom.diffusion.objective import Denoiser
from darkroom.diffusion.schedule import NoiseSchedule
from darkroom.diffusion.steps import NoiseSource, Trajectory

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


def sample(
    sampler: SamplerName,
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
    """All steps of a sampler, one after another."""
    trajectory = Trajectory(
        sampler, x_T, schedule, num_steps=num_steps, prediction_type=prediction_type,
        noise=noise, clip=clip, eta=eta, spacing=spacing,
    )  # fmt: skip
    while not trajectory.done:
        step = trajectory.step
        output = denoiser(trajectory.x, trajectory.t.to(trajectory.x.device))
        x0 = trajectory.advance(output)
        if on_step is not None:
            on_step(step.index, step.t, trajectory.x, x0)
    return trajectory.x


sample_ddpm: Sampler = partial(sample, "ddpm")
"""Ancestral sampling. Source: Ho et al. 2020, Algorithm 2, in the x0 form of eq. 7.

Fewer steps than T run the same chain on the subsequence's own alpha_t = abar_t / abar_prev
(Nichol & Dhariwal 2021, section 4). The variance is the posterior's."""
sample_ddim: Sampler = partial(sample, "ddim")
"""Denoising diffusion implicit models. Source: Song et al. 2021, eq. 12 and 16."""
sample_dpm_solver: Sampler = partial(sample, "dpm-solver++")
"""DPM-Solver++(2M), diffusers' implementation. Source: Lu et al. 2022, Algorithm 2.

Deterministic: `noise` is never called. It is fed our x0, so all predictions and the clamp behave as
in the other samplers; it computes in float32."""

SAMPLERS: Mapping[SamplerName, Sampler] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "dpm-solver++": sample_dpm_solver,
}
