"""What a worker's weights take in memory, and whether its share of a GPU holds them; no torch."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import WorkerConfig

MIB = 1024**2


def loaded_bytes(config: WorkerConfig, weights_bytes: int | None) -> int | None:
    """The least that weights of so many bytes take in memory; None where it cannot be told."""
    if weights_bytes is None or config.precision == "float32":
        return weights_bytes
    return weights_bytes // 2  # the files may hold float32


def gpu_share(num_gpus: float) -> float:
    """The part of one GPU's memory that a worker may take."""
    return min(1.0, num_gpus) if num_gpus else 1.0


def check_share(num_bytes: int | None, total_bytes: int, share: float, *, prefix: str = "") -> None:
    """Weights alone must fit into the share. Errors: ConfigError naming num_gpus."""
    if num_bytes is not None and num_bytes > share * total_bytes:
        raise ConfigError(
            f"{prefix}num_gpus", share,
            f"is {share * total_bytes / MIB:.0f} MiB of the GPU's {total_bytes / MIB:.0f}, and the"
            f" weights alone are {num_bytes / MIB:.0f} MiB",
            "raise the fraction, or take a smaller model or variant",
        )  # fmt: skip
