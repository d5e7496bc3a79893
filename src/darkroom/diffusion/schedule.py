"""Noise schedules and the forward process q(x_t | x_0).

Tables are float64 and are cast to the images' dtype only when they are applied: in float32
the cosine schedule's last alpha-bar (2.4e-9) would lose most of its digits in the product.

Assumes timesteps 0 .. T-1. Leaves to others: which timesteps a sampler visits (`sampler.py`)
and what the network predicts (`objective.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from darkroom.diffusion.config import (
    DEFAULT_SPACING,
    PredictionType,
    ScheduleConfig,
    check_prediction_type,
)
from darkroom.errors import ConfigError

COSINE_OFFSET = 0.008
COSINE_MAX_BETA = 0.999


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The variances beta_t of the forward process and the tables that follow from them.

    All tables are float64 of shape (T,), on the device of `betas`.
    """

    betas: Tensor
    named: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments from which diffusers derives the same betas; empty where it has no name."""

    def __post_init__(self) -> None:
        betas = self.betas
        if betas.ndim != 1 or len(betas) < 1 or betas.dtype != torch.float64:
            raise ValueError(f"betas: want float64 of shape (T,), got {betas.dtype} {betas.shape}")
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ConfigError("schedule", None, "every beta must lie in (0, 1]")
        # Only the last alpha-bar may be 0 (zero terminal SNR). One that float32 cannot hold
        # would turn x0 = (x_t - sqrt(1 - alpha-bar) eps) / sqrt(alpha-bar) into infinity.
        smallest = torch.finfo(torch.float32).tiny
        if any(0 <= value < smallest for value in self._nonterminal_alphas_cumprod().tolist()):
            raise ConfigError(
                "schedule",
                None,
                "the signal vanishes before the last timestep",
                "lower beta_end or num_timesteps",
            )

    def _nonterminal_alphas_cumprod(self) -> Tensor:
        return self.alphas_cumprod[:-1] if self.zero_terminal_snr else self.alphas_cumprod

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """alpha-bar_t: the share of x0's variance that is left at step t."""
        return torch.cumprod(1.0 - self.betas, dim=0)

    @cached_property
    def sqrt_alphas_cumprod(self) -> Tensor:
        """The factor of x0 in x_t."""
        return self.alphas_cumprod.sqrt()

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> Tensor:
        """The factor of eps in x_t."""
        return (1.0 - self.alphas_cumprod).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """SNR(t) = alpha-bar_t / (1 - alpha-bar_t) (Kingma et al. 2021, eq. 2)."""
        return self.alphas_cumprod / (1.0 - self.alphas_cumprod)

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the last step is pure noise."""
        return float(self.alphas_cumprod[-1]) == 0.0

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """The same schedule with its tables on `device` (which must know float64)."""
        return dataclasses.replace(self, betas=self.betas.to(device))

    def coefficients(self, table: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """`table[t]` shaped (B, 1, ..., 1) to multiply `like` (B, ...), in its dtype and device."""
        values = table[t.to(table.device)].to(device=like.device, dtype=like.dtype)
        return values.reshape(-1, *[1] * (like.ndim - 1))

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t from q(x_t | x_0): sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.

        x0, noise: (B, ...); t: (B,) integers in 0 .. T-1. Source: Ho et al. 2020, eq. 4.
        """
        signal = self.coefficients(self.sqrt_alphas_cumprod, t, x0)
        spread = self.coefficients(self.sqrt_one_minus_alphas_cumprod, t, x0)
        return signal * x0 + spread * noise

    def to_diffusers(
        self, prediction_type: PredictionType = "epsilon", *, clip: float | None = 1.0
    ) -> dict[str, Any]:
        """The config of a diffusers scheduler with the same betas, prediction and x0 clamp.

        `DDPMScheduler`, `DDIMScheduler` and `DPMSolverMultistepScheduler` load it by
        `from_config`. Schedules that not all of them can name travel as `trained_betas`.
        """
        check_prediction_type(prediction_type, zero_terminal_snr=self.zero_terminal_snr)
        return {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": self.num_timesteps,
            **(self.named or {"trained_betas": self.betas.tolist()}),
            "prediction_type": prediction_type,
            "variance_type": "fixed_small",
            "clip_sample": clip is not None,
            "clip_sample_range": 1.0 if clip is None else clip,
            "rescale_betas_zero_snr": self.zero_terminal_snr,
            "timestep_spacing": DEFAULT_SPACING,
            "steps_offset": 0,
        }


def linear_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> NoiseSchedule:
    """beta_t rises linearly. Source: Ho et al. 2020, section 4."""
    betas = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
    named = {"beta_schedule": "linear", "beta_start": beta_start, "beta_end": beta_end}
    return NoiseSchedule(betas, named)


def cosine_schedule(
    num_timesteps: int = 1000, s: float = COSINE_OFFSET, max_beta: float = COSINE_MAX_BETA
) -> NoiseSchedule:
    """alpha-bar follows a squared cosine; beta_t is capped so that the end stays invertible.

    f(t) = cos^2((t/T + s) / (1 + s) * pi/2), beta_t = min(1 - f(t) / f(t-1), max_beta).
    Source: Nichol & Dhariwal 2021, eq. 17.
    """

    def f(step: int) -> float:
        return math.cos((step / num_timesteps + s) / (1 + s) * math.pi / 2) ** 2

    betas = [min(1 - f(step) / f(step - 1), max_beta) for step in range(1, num_timesteps + 1)]
    standard = s == COSINE_OFFSET and max_beta == COSINE_MAX_BETA
    named = {"beta_schedule": "squaredcos_cap_v2"} if standard else {}
    return NoiseSchedule(torch.tensor(betas, dtype=torch.float64), named)


def sigmoid_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> NoiseSchedule:
    """beta_t rises along a sigmoid over [-6, 6]. Source: Xu et al. 2022 (GeoDiff), appendix.

    diffusers' DDPMScheduler knows the name, its DDIM and DPM-Solver++ schedulers do not.
    """
    steepness = torch.linspace(-6, 6, num_timesteps, dtype=torch.float64)
    return NoiseSchedule(torch.sigmoid(steepness) * (beta_end - beta_start) + beta_start)


def rescale_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and scale sqrt(alpha-bar) so that its end is exactly 0 and its start is kept.

    Source: Lin et al. 2023, Algorithm 1. Needs T >= 2. Errors: ConfigError for T = 1.
    """
    if schedule.num_timesteps < 2:
        raise ConfigError("num_timesteps", schedule.num_timesteps, "zero SNR needs at least 2")
    root = schedule.sqrt_alphas_cumprod
    first, last = root[0], root[-1]
    alphas_cumprod = ((root - last) * first / (first - last)) ** 2
    # Step by step again: alpha_t = abar_t / abar_{t-1}, with abar_{-1} = 1.
    alphas = alphas_cumprod / torch.cat([torch.ones_like(root[:1]), alphas_cumprod[:-1]])
    return NoiseSchedule(1.0 - alphas, schedule.named)


def build_schedule(config: ScheduleConfig) -> NoiseSchedule:
    """Build the tables that `config` names."""
    schedule = _named_schedule(config)
    return rescale_zero_terminal_snr(schedule) if config.zero_terminal_snr else schedule


def _named_schedule(config: ScheduleConfig) -> NoiseSchedule:
    if config.kind == "cosine":
        return cosine_schedule(config.num_timesteps)
    build = linear_schedule if config.kind == "linear" else sigmoid_schedule
    return build(config.num_timesteps, config.beta_start, config.beta_end)
