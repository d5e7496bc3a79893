"""How latents are noised and what their loss is: one `Objective` for each of the two kinds.

Diffusion follows the base scheduler's betas and predicts what its config says (epsilon, v); flow
matching follows straight paths with the scheduler's shift.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from darkroom.diffusion import NoiseSchedule, diffusion_loss
from darkroom.diffusion.flow import flow_loss, interpolate, logit_normal, shift_by_tokens, shifted
from darkroom.errors import ConfigError
from darkroom.jobs.finetune.config import LatentObjectiveConfig
from darkroom.jobs.training.draws import RowDraws
from darkroom.models.families.base import BaseModel

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, C, h, w), t (B,) as the network counts it) -> its prediction, shaped like x_t."""


class Objective(ABC):
    """Turns clean latents and draws into a loss per row."""

    def __init__(self, config: LatentObjectiveConfig) -> None:
        self._config = config

    @abstractmethod
    def losses(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Tensor:
        """(B,) float32 of latents (B, C, h, w)."""

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

    def losses(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Tensor:
        schedule = self._schedule
        level = self._level(draws, default="uniform")
        t = (level * schedule.num_timesteps).long().clamp(max=schedule.num_timesteps - 1)
        noise, added = self._noise(draws, x0)
        return diffusion_loss(
            predict(schedule.q_sample(x0, t, added), t),
            x0=x0,
            t=t,
            noise=noise,
            schedule=schedule,
            prediction_type=self._prediction_type,
            min_snr_gamma=self._config.min_snr_gamma,
        )


class FlowObjective(Objective):
    """Straight paths, with the base scheduler's shift."""

    def __init__(self, config: LatentObjectiveConfig, scheduler: Any, *, patch: int) -> None:
        super().__init__(config)
        if config.min_snr_gamma is not None:
            raise ConfigError(
                "objective.min_snr_gamma", config.min_snr_gamma,
                "weighs by a schedule of betas, and this base matches flows",
                "leave it out",
            )  # fmt: skip
        self._scheduler, self._patch = scheduler.config, patch

    def losses(self, predict: Predict, x0: Tensor, draws: RowDraws) -> Tensor:
        sigma = shifted(self._level(draws, default="logit_normal"), self.shift(x0))
        noise, added = self._noise(draws, x0)
        t = sigma * self._scheduler.num_train_timesteps
        return flow_loss(predict(interpolate(x0, added, sigma), t), x0=x0, noise=noise)

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
    scheduler = base.pipeline.scheduler
    if base.family.objective == "flow":
        return FlowObjective(config, scheduler, patch=base.family.patch)
    if config.flow_shift is not None:
        raise ConfigError(
            "objective.flow_shift", config.flow_shift,
            "belongs to flow matching, and this base has a schedule of betas", "leave it out",
        )  # fmt: skip
    return DiffusionObjective(config, scheduler)
