"""The reverse process step by step: where the network is wanted, and what its answer makes of x.

    trajectory = Trajectory(sampler, x_T, schedule, ...)
    while not trajectory.done:
        trajectory.advance(network(trajectory.x, trajectory.t))

So whoever draws decides when each step is taken and beside which others: `sampler.py` takes all at
once, a server one at a time, between those of other pictures with other samplers and numbers of
steps. Each trajectory is one picture or several in step, and knows of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkroom.diffusion.config import (
    DEFAULT_SPACING,
    PredictionType,
    SamplerName,
    Spacing,
    check_prediction_type,
)
from darkroom.diffusion.objective import predict_x0
from darkroom.diffusion.schedule import NoiseSchedule
from darkroom.diffusion.spacing import timesteps
from darkroom.errors import ConfigError

NoiseSource = Callable[[int], Tensor]


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


class Trajectory:
    """Pictures on their way from noise, all at the same step.

    sampler, x_T (B, ...) and the others: as of `sampler.py`'s one signature.
    Errors: ConfigError for settings that do not go together.
    """

    def __init__(
        self,
        sampler: SamplerName,
        x_T: Tensor,
        schedule: NoiseSchedule,
        *,
        num_steps: int,
        prediction_type: PredictionType,
        noise: NoiseSource,
        clip: float | None = 1.0,
        eta: float = 0.0,
        spacing: Spacing = DEFAULT_SPACING,
    ) -> None:
        check_eta(sampler, eta)
        check_prediction_type(prediction_type, zero_terminal_snr=schedule.zero_terminal_snr)
        self._steps = steps_of(schedule, num_steps, spacing)
        self._move = _MOVES[sampler](schedule, self._steps, noise, eta)
        self._schedule, self._prediction_type, self._clip = schedule, prediction_type, clip
        self._num_done = 0
        self.x = x_T
        """(B, ...) at the noise level of `step`; once done, the pictures."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._num_done == len(self._steps)

    @property
    def num_done(self) -> int:
        """Steps taken."""
        return self._num_done

    @property
    def step(self) -> Step:
        """The one to take next."""
        return self._steps[self._num_done]

    @property
    def t(self) -> Tensor:
        """Where the network is wanted: (B,) int64, on the CPU."""
        return torch.full((len(self.x),), self.step.t, dtype=torch.int64)

    def advance(self, output: Tensor) -> Tensor:
        """Take the step, given the network's prediction at (x, t). Returns its x0, clamped."""
        step, t = self.step, self.t
        # t beside the tables: the device is never waited for.
        x0 = predict_x0(
            self._schedule, output, self.x, t.to(self._schedule.betas.device), self._prediction_type
        )
        if self._clip is not None:
            x0 = x0.clamp(-self._clip, self._clip)
        self.x = self._move(self.x, x0, step)
        self._num_done += 1
        return x0


def check_eta(sampler: SamplerName, eta: float) -> None:
    """Errors: ConfigError for an eta that the sampler has no use for."""
    if not 0 <= eta <= 1:
        raise ConfigError("eta", eta, "must be between 0 and 1")
    if eta != 0 and sampler != "ddim":
        raise ConfigError("eta", eta, f"has no effect with {sampler}", "use ddim, or leave it at 0")


def steps_of(schedule: NoiseSchedule, num_steps: int, spacing: Spacing) -> list[Step]:
    """All steps of a trajectory. Errors: as `timesteps`."""
    visited = timesteps(schedule, num_steps, spacing)
    alphas_cumprod = schedule.alphas_cumprod.tolist()
    levels = [alphas_cumprod[t] for t in visited] + [1.0]
    return [
        Step(index, t, levels[index], levels[index + 1], last=index == len(visited) - 1)
        for index, t in enumerate(visited)
    ]


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


Move = Callable[[Tensor, Tensor, Step], Tensor]
"""(x_t, x0, step) -> x at the next lower noise level."""


def _ddpm(
    _schedule: NoiseSchedule, _steps: Sequence[Step], noise: NoiseSource, _eta: float
) -> Move:
    def move(x: Tensor, x0: Tensor, step: Step) -> Tensor:
        mean, variance = ddpm_posterior(x, x0, step)
        return mean if step.last else mean + variance**0.5 * noise(step.index)

    return move


def _ddim(_schedule: NoiseSchedule, _steps: Sequence[Step], noise: NoiseSource, eta: float) -> Move:
    def move(x: Tensor, x0: Tensor, step: Step) -> Tensor:
        mean, sigma = ddim_mean(x, x0, step, eta)
        return mean if sigma == 0 else mean + sigma * noise(step.index)

    return move


def _dpm_solver(
    schedule: NoiseSchedule, steps: Sequence[Step], _noise: NoiseSource, _eta: float
) -> Move:
    """diffusers' second-order multistep solver, fed our x0; it remembers the last x0."""
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
    solver.set_timesteps(timesteps=[step.t for step in steps])

    def move(x: Tensor, x0: Tensor, step: Step) -> Tensor:
        moved: Tensor = solver.step(x0, step.t, x).prev_sample
        return moved

    return move


_MOVES: Mapping[
    SamplerName, Callable[[NoiseSchedule, Sequence[Step], NoiseSource, float], Move]
] = {"ddpm": _ddpm, "ddim": _ddim, "dpm-solver++": _dpm_solver}
