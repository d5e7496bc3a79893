"""What is asked of the models before anything is started, and whether their weights fit here.

Ray's own resources (CPUs, GPUs and their fractions) are checked by the batch core; memory is not
Ray's business, so it is looked at here for a local Ray, and in the actors for a GPU's share.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable

import psutil

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.drawing.class_settings import check_settings
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.drawing.memory import MIB, loaded_bytes
from darkroom.jobs.drawing.text_model import check_text_model
from darkroom.jobs.generate.config import ClassConditionalConfig, EnhanceConfig, GenerateConfig
from darkroom.models.find import FoundModel
from darkroom.storage import open_artifact

Loaded = Iterable[tuple[str, WorkerConfig, int]]
"""Stage, its workers, and the bytes of its model's weight files."""


def resolve_backend(config: EnhanceConfig) -> str:
    """Which library answers. Errors: ConfigError for a vLLM that is not there."""
    present = importlib.util.find_spec("vllm") is not None
    if config.backend == "auto":
        return "vllm" if present and config.num_gpus else "transformers"
    if config.backend == "vllm" and not present:
        raise ConfigError(
            "enhance.backend", "vllm", "is not installed here",
            "use an image that has vLLM, or backend transformers",
        )  # fmt: skip
    return config.backend


def check_model(config: GenerateConfig, model: FoundModel) -> None:
    """The drawing model can do what the config says. Errors: DataError, ConfigError."""
    if isinstance(config.draw, ClassConditionalConfig):
        trained = ModelInfo.of(open_artifact(config.draw.model), field="draw.model")
        if not trained.class_conditional:
            raise ConfigError(
                "draw.model", config.draw.model, "knows no classes", "use `darkroom sample`"
            )
        check_settings(config.draw, trained, prefix="draw.")
        return
    check_text_model(
        model, field="draw.model", lora_field="draw.lora.model",
        classes="set draw.kind to class_conditional",
    )  # fmt: skip


def check_memory(loaded: Loaded, *, available_bytes: int | None = None) -> None:
    """Weights of all workers without a GPU fit into this machine; a cluster is not looked at.

    Errors: ConfigError with the sum, what is free and the remedy.
    """
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        return
    available = psutil.virtual_memory().available if available_bytes is None else available_bytes
    parts = [
        (name, config.num_workers, size)
        for name, config, weights_bytes in loaded
        if not config.num_gpus and (size := loaded_bytes(config, weights_bytes))
    ]
    needed = sum(workers * size for _, workers, size in parts)
    if needed <= available:
        return
    shown = ", ".join(f"{name} {workers} x {size // MIB} MiB" for name, workers, size in parts)
    raise ConfigError(
        "num_workers", None, f"the workers' weights alone take {needed // MIB} MiB ({shown}), and "
        f"this machine has {available // MIB} MiB free",
        "lower num_workers, take smaller models, or run on a cluster",
    )  # fmt: skip
