"""What the driver refuses or remarks of the optimizer, before anything is written. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from darkroom.errors import ConfigError
from darkroom.jobs.training.config import OptimizerConfig, TrainingConfig

FIELD = "optimizer.name"
_LOW_FOR_PRODIGY = 0.1


def check_optimizer(config: TrainingConfig) -> None:
    """Errors: ConfigError for one that cannot run here."""
    if config.optimizer.name != "adamw_8bit":
        return
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            FIELD, "adamw_8bit", "needs bitsandbytes, which is not installed",
            "install it beside darkroom, for the driver and the workers, or take adamw",
        )  # fmt: skip
    if not config.workers.use_gpu:
        raise ConfigError(
            FIELD, "adamw_8bit", "runs on GPUs only", "set workers.use_gpu, or take adamw"
        )


def check_rates(config: OptimizerConfig, rates: Sequence[float]) -> None:
    """Errors: ConfigError for groups' peak rates that the optimizer cannot keep apart."""
    if config.name == "prodigy" and len(set(rates)) > 1:
        raise ConfigError(
            FIELD, "prodigy", "has one step size for all groups, and their learning rates differ",
            f"set them all to {config.learning_rate:g}",
        )  # fmt: skip


def remarks(config: OptimizerConfig) -> Iterator[str]:
    """What is unlikely to be meant."""
    if config.name == "prodigy" and config.learning_rate < _LOW_FOR_PRODIGY:
        yield (
            f"optimizer.learning_rate {config.learning_rate:g} scales the step size that prodigy "
            "finds by itself: 1 is usual"
        )
