"""Where a worker's model runs, how much memory it may take, and how its network is tuned.

`num_gpus` is bookkeeping for Ray and no wall: here a fraction becomes the process's memory cap,
and weights that cannot fit are refused before they are loaded. Runs inside a Ray actor.
"""

from __future__ import annotations

import torch

from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import DrawingConfig, Precision, WorkerConfig
from darkroom.jobs.drawing.memory import check_share, gpu_share, loaded_bytes

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def prepare_device(
    config: WorkerConfig, weights_bytes: int | None = None, *, prefix: str = ""
) -> torch.device:
    """The worker's device, with its threads and memory cap set.

    weights_bytes: of the weight files, where known. prefix: of the config's fields in messages.
    Errors: ConfigError when a GPU is asked for and none is here, or the weights are larger than
    the worker's share of it.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError(
            f"{prefix}device", "cuda", "no GPU is visible to the worker",
            "use a cluster with GPUs, or device auto",
        )  # fmt: skip
    if config.device == "cpu" or not has_gpu:
        torch.set_num_threads(max(1, int(config.num_cpus or 1)))
        return torch.device("cpu")
    total = torch.cuda.get_device_properties(0).total_memory
    share = gpu_share(config.num_gpus)
    check_share(loaded_bytes(config, weights_bytes), total, share, prefix=prefix)
    torch.cuda.set_per_process_memory_fraction(share)
    return torch.device("cuda")


def tune(network: torch.nn.Module, config: DrawingConfig) -> None:
    """Give a loaded network the memory layout and the compiler that the config asks for."""
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    if config.compile:
        network.compile()
