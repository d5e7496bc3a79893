"""Whether a model that `darkroom train` published can do what is asked. Needs no torch."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.drawing.config import ClassDrawingConfig


def check_settings(config: ClassDrawingConfig, info: ModelInfo, *, prefix: str = "") -> None:
    """Errors: ConfigError for what the model cannot do."""
    if config.guidance_scale != 1 and info.null_class is None:
        raise ConfigError(
            f"{prefix}guidance_scale", config.guidance_scale,
            "the model has no null class to guide from",
            "use 1, or train with label dropout above 0",
        )  # fmt: skip
    check_num_steps(config.num_steps, info.schedule.num_timesteps, prefix=prefix)


def check_num_steps(num_steps: int, num_timesteps: int, *, prefix: str = "") -> None:
    """Errors: ConfigError for more steps than the schedule of a model, of classes or texts, has."""
    if num_steps > num_timesteps:
        raise ConfigError(
            f"{prefix}num_steps", num_steps, f"the model was trained on {num_timesteps} timesteps",
            "use at most as many",
        )  # fmt: skip
