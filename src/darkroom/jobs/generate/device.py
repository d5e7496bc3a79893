"""Where a stage's model runs, and how much memory it may take.

`num_gpus` is bookkeeping for Ray and no wall: here a fraction becomes the process's memory cap,
and weights that cannot fit are refused before they are loaded. Runs inside a Ray actor.
"""

from __future__ import annotations

import torch

from darkroom.errors import ConfigError
from darkroom.jobs.generate.config import EnhanceConfig, Precision, TextToImageConfig, WorkerConfig
from darkroom.models.find import FoundModel

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

MB = 1024**2


def prepare_device(config: WorkerConfig, folder: FoundModel, *, field: str) -> torch.device:
    """The stage's device with its threads and memory cap set.

    Errors: ConfigError when a GPU is asked for and none is here, or the weights are larger than
    the stage's share of it.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError(
            f"{field}.device", "cuda", "no GPU is visible to the stage's actor",
            "use a cluster with GPUs, or device auto",
        )  # fmt: skip
    if config.device == "cpu" or not has_gpu:
        torch.set_num_threads(max(1, int(config.num_cpus or 1)))
        return torch.device("cpu")
    total = torch.cuda.get_device_properties(0).total_memory
    share = gpu_share(config.num_gpus)
    check_share(loaded_bytes(config, folder), total, share, field=field)
    torch.cuda.set_per_process_memory_fraction(share)
    return torch.device("cuda")


def loaded_bytes(config: WorkerConfig, folder: FoundModel) -> int | None:
    """The least that the stage's weights take in memory; None where it cannot be told."""
    if isinstance(config, EnhanceConfig):
        size = folder.weights_bytes(file=config.gguf_file)
    elif isinstance(config, TextToImageConfig) and config.variant:
        return folder.weights_bytes(variant=config.variant)
    else:
        size = folder.weights_bytes()
    if size is None or config.precision == "float32":
        return size
    return size // 2  # the files may hold float32


def gpu_share(num_gpus: float) -> float:
    """The part of one GPU's memory that a stage may take."""
    return min(1.0, num_gpus) if num_gpus else 1.0


def check_share(weights_bytes: int | None, total_bytes: int, share: float, *, field: str) -> None:
    """Weights alone must fit into the share. Errors: ConfigError naming `field`.num_gpus."""
    if weights_bytes is not None and weights_bytes > share * total_bytes:
        raise ConfigError(
            f"{field}.num_gpus", share,
            f"is {share * total_bytes / MB:.0f} MiB of the GPU's {total_bytes / MB:.0f}, and the "
            f"weights alone are {weights_bytes / MB:.0f} MiB",
            "raise the fraction, or take a smaller model or variant",
        )  # fmt: skip
