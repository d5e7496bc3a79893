"""The typed choice of noise schedule and prediction type.

Imports no torch, so a config can be checked and printed in milliseconds; `schedule.py` turns
a ScheduleConfig into tables. Whether the schedule suits the data is the caller's judgement.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from darkroom.config import Config
from darkroom.errors import ConfigError

ScheduleKind = Literal["linear", "cosine", "sigmoid"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["leading", "trailing"]
# Whatever the sampler, one grid; it is also what the exported scheduler config names.
DEFAULT_SPACING: Spacing = "trailing"
SamplerName = Literal["ddpm", "ddim", "dpm-solver++"]

Beta = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class ScheduleConfig(Config):
    """How noise grows over the timesteps."""

    kind: ScheduleKind = "cosine"
    """linear (Ho et al. 2020), cosine (Nichol & Dhariwal 2021) or sigmoid (Xu et al. 2022)."""
    num_timesteps: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """T, the number of noise levels the network is trained on."""
    beta_start: Beta = 1e-4
    """Smallest noise variance (linear and sigmoid; the cosine schedule has no range)."""
    beta_end: Annotated[Beta, Field(validate_default=True)] = 0.02
    """Largest noise variance (linear and sigmoid; the cosine schedule has no range)."""
    zero_terminal_snr: bool = False
    """Rescale so that the last step is pure noise (Lin et al. 2023); not with epsilon."""

    @field_validator("beta_end")
    @classmethod
    def _above_beta_start(cls, beta_end: float, info: ValidationInfo) -> float:
        beta_start = info.data.get("beta_start")
        if beta_start is not None and beta_end <= beta_start:
            raise ValueError(f"must be above beta_start ({beta_start})")
        return beta_end

    @field_validator("zero_terminal_snr")
    @classmethod
    def _leaves_a_signal(cls, wanted: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if wanted and info.data.get("num_timesteps") == 1:
            raise ValueError("needs at least 2 timesteps; the only step would carry no signal")
        return wanted


def check_prediction_type(
    prediction_type: PredictionType, *, zero_terminal_snr: bool, field: str = "prediction_type"
) -> None:
    """Refuse epsilon under zero terminal SNR.

    At SNR 0 the input is the noise itself: predicting it teaches nothing, and x0 cannot be
    recovered from it (Lin et al. 2023, section 3.3). Errors: ConfigError.
    """
    if zero_terminal_snr and prediction_type == "epsilon":
        raise ConfigError(
            field,
            prediction_type,
            "cannot be used with zero_terminal_snr: at the last step the noise says nothing of x0",
            "use v_prediction or sample, or turn zero_terminal_snr off",
        )
