"""How latents are noised and what the network is asked for: an `Objective` for each of two kinds.

Diffusion follows the base scheduler's betas and predicts what its config says (epsilon, v); flow
matching follows straight paths with the scheduler's shift.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from darkroom.diffusion import NoiseSchedule
from darkroom.diffusion.flow import interpolate, logit_normal, shift_by_tokens, shifted
from darkroom.diffusion.objective import min_snr_weight, predict_x0, target
from darkroom.jobs.finetune.checks import check_objective
from darkroom.jobs.finetune.config import LatentObjectiveConfig
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.training.draws import RowDraws
from darkroom.models.families.base import BaseModel

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, C, h, w), t (B,) as the network counts it) -> its prediction, shaped like x_t."""


class Objective(ABC):
    """Noises clean latents by their draws, and asks the network."""

    def __init__(self, config: LatentObjectiveConfig) -> None:
        self._config = config

    @abstractmethod
    def estimate(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Estimate:
        """What the network says of latents (B, C, h, w) with the noise that is drawn for them."""

    def _level(self, draws: RowDraws, *, default: str) -> Tensor:
        """Noise level (B,) in [0, 1), 1 being pure noise, by the density that is asked for."""
        level = draws.uniform("noise_level")
        uniform = (self._config.timestep_density or default) == "uniform"
        return level if uniform else logit_normal(level)

    def _noise(self, draws: RowDraws, x0: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is asked for, and what is put into its input."""
        config = self._config
        noise = draws.normal("noise", x0.shape[1:])
        if config.offset_noise:
            noise = noise + config.offset_noise * draws.normal("offset", (x0.shape[1], 1, 1))
        if not config.input_perturbation:
            return noise, noise
        more = draws.normal("input_perturbation", x0.shape[1:])
        return noise, noise + config.input_perturbation * more


class DiffusionObjective(Objective):
    """q(x_t | x_0) of the base's own betas."""

    def __init__(self, config: LatentObjectiveConfig, scheduler: Any) -> None:
        from diffusers import DDPMScheduler

        super().__init__(config)
        # Whatever sampler the folder names, its betas are those that DDPM makes of its config.
        self._schedule = NoiseSchedule(DDPMScheduler.from_config(scheduler.config).betas.double())
        self._prediction_type = scheduler.config.get("prediction_type", "epsilon")

    def estimate(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Estimate:
        schedule, kind = self._schedule, self._prediction_type
        level = self._level(draws, default="uniform")
        t = (level * schedule.num_timesteps).long().clamp(max=schedule.num_timesteps - 1)
        noise, added = self._noise(draws, x0)
        x_t = schedule.q_sample(x0, t, added)
        prediction = predict(x_t, t)
        gamma, weight = self._config.min_snr_gamma, None
        if gamma is not None:
            snr = schedule.coefficients(schedule.snr, t, level)
            weight = min_snr_weight(snr, gamma, kind)
        return Estimate(
            x0=x0,
            prediction=prediction,
            target=target(schedule, x0, t, noise, kind),
            x0_hat=predict_x0(schedule, prediction, x_t, t, kind),
            timesteps=t,
            level=t / schedule.num_timesteps,
            signal=schedule.coefficients(schedule.sqrt_alphas_cumprod, t, level),
            noise=schedule.coefficients(schedule.sqrt_one_minus_alphas_cumprod, t, level),
            weight=weight,
        )


class FlowObjective(Objective):
    """Straight paths, with the base scheduler's shift."""

    def __init__(self, config: LatentObjectiveConfig, scheduler: Any, *, patch: int) -> None:
        super().__init__(config)
        self._scheduler, self._patch = scheduler.config, patch

    def estimate(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Estimate:
        sigma = shifted(self._level(draws, default="logit_normal"), self.shift(x0))
        noise, added = self._noise(draws, x0)
        t = sigma * self._scheduler.num_train_timesteps
        x_t = interpolate(x0, added, sigma)
        velocity = predict(x_t, t)
        return Estimate(
            x0=x0,
            prediction=velocity,
            target=noise - x0,
            x0_hat=x_t - sigma.reshape(-1, 1, 1, 1).to(x_t) * velocity,
            timesteps=t,
            level=sigma,
            signal=1 - sigma,
            noise=sigma,
        )

    def shift(self, x0: Tensor) -> float:
        """The shift for latents of this size."""
        config = self._scheduler
        if self._config.flow_shift is not None:
            return self._config.flow_shift
        if not config.get("use_dynamic_shifting", False):
            return float(config.get("shift", 1.0))
        return shift_by_tokens(
            x0.shape[-2] * x0.shape[-1] // self._patch**2,
            base_tokens=config.get("base_image_seq_len", 256),
            max_tokens=config.get("max_image_seq_len", 4096),
            base_shift=config.get("base_shift", 0.5),
            max_shift=config.get("max_shift", 1.15),
        )


def objective_of(config: LatentObjectiveConfig, base: BaseModel) -> Objective:
    """The kind that the base's family has. Errors: ConfigError for what does not suit it."""
    check_objective(config, base.family)
    scheduler = base.pipeline.scheduler
    if base.family.objective == "flow":
        return FlowObjective(config, scheduler, patch=base.family.patch)
    return DiffusionObjective(config, scheduler)
