"""Config of `train`: pixel-space diffusion with a class-conditional U-Net.

Complete and typed; knows nothing of Ray or torch. What it shares with other training verbs
stands in `jobs/training/config.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from darkroom.config import Config, Fraction, PositiveFloat, PositiveInt
from darkroom.diffusion.config import ScheduleConfig
from darkroom.jobs.training.config import TrainingConfig


class UNetConfig(Config):
    """diffusers' UNet2DModel; one entry of `block_out_channels` per resolution level."""

    block_out_channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128, 256)
    """Channels of each level, the finest first; each level after the first halves the size."""
    layers_per_block: PositiveInt = 2
    """Residual blocks per level."""
    attention_resolutions: tuple[PositiveInt, ...] = (16, 8)
    """Sizes (pixels) of the levels that carry self-attention."""
    attention_head_dim: PositiveInt = 8
    """Channels per attention head."""
    norm_num_groups: PositiveInt = 32
    """Groups of every GroupNorm; divides each level's channels."""
    dropout: Fraction = 0.0
    """Dropout inside residual blocks."""

    @model_validator(mode="after")
    def _channels_divide(self) -> UNetConfig:
        for channels in self.block_out_channels:
            for divisor, name in (
                (self.norm_num_groups, "norm_num_groups"),
                (self.attention_head_dim, "attention_head_dim"),
            ):
                if channels % divisor:
                    raise ValueError(
                        f"block_out_channels {channels} is not a multiple of {name} {divisor}; "
                        f"change one of them"
                    )
        return self


class ObjectiveConfig(Config):
    """What the network predicts and how its error is weighted."""

    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """epsilon (Ho et al. 2020), v_prediction (Salimans & Ho 2022) or sample (x0)."""
    min_snr_gamma: PositiveFloat | None = None
    """Min-SNR-gamma loss weights (Hang et al. 2023), 5.0 as in the paper; null for none."""
    class_conditional: bool = True
    """Condition on the dataset's classes."""
    label_dropout: Fraction = 0.1
    """Share of labels replaced by the null class, for classifier-free guidance."""


class TrainConfig(TrainingConfig):
    """One training run."""

    schedule: ScheduleConfig = ScheduleConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    unet: UNetConfig = UNetConfig()

    @model_validator(mode="after")
    def _objective_fits_schedule(self) -> TrainConfig:
        if self.schedule.zero_terminal_snr and self.objective.prediction_type == "epsilon":
            raise ValueError(
                "schedule.zero_terminal_snr cannot be learnt by objective.prediction_type epsilon; "
                "use v_prediction or sample"
            )
        return self
