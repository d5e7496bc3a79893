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
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.generate.config import (
    ClassConditionalConfig,
    EnhanceConfig,
    GenerateConfig,
    WorkerConfig,
)
from darkroom.jobs.generate.device import loaded_bytes
from darkroom.models.find import FoundModel
from darkroom.models.unet import read_model_info
from darkroom.storage import open_artifact

MB = 1024**2
Loaded = Iterable[tuple[str, WorkerConfig, FoundModel]]


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


def check_kind(config: GenerateConfig, model: FoundModel) -> None:
    """The drawing model is of the kind that the config says. Errors: DataError, ConfigError."""
    if isinstance(config.draw, ClassConditionalConfig):
        artifact = open_artifact(config.draw.model, kind=Kind.MODEL)
        if not read_model_info(artifact).class_conditional:
            raise ConfigError(
                "draw.model", config.draw.model, "knows no classes", "use `darkroom sample`"
            )
    elif model.kind == Kind.MODEL:
        raise ConfigError(
            "draw.kind", "text_to_image", f"{model.uri} was published by `darkroom train` and "
            "takes classes, not texts", "set draw.kind to class_conditional",
        )  # fmt: skip


def check_memory(loaded: Loaded, *, available_bytes: int | None = None) -> None:
    """Weights of all actors without a GPU fit into this machine; a cluster is not looked at.

    Errors: ConfigError with the sum, what is free and the remedy.
    """
    if os.environ.get("RAY_ADDRESS", "local") not in ("", "local"):
        return
    available = psutil.virtual_memory().available if available_bytes is None else available_bytes
    parts = [
        (name, config.num_actors, size)
        for name, config, folder in loaded
        if not config.num_gpus and (size := loaded_bytes(config, folder))
    ]
    needed = sum(actors * size for _, actors, size in parts)
    if needed <= available:
        return
    shown = ", ".join(f"{name} {actors} x {size // MB} MiB" for name, actors, size in parts)
    raise ConfigError(
        "num_actors", None, f"the actors' weights alone take {needed // MB} MiB ({shown}), and "
        f"this machine has {available // MB} MiB free",
        "lower num_actors, take smaller models, or run on a cluster",
    )  # fmt: skip
