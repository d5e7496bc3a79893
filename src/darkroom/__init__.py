"""Darkroom: image diffusion models on Ray clusters, with S3 as the only storage.

`darkroom.prepare`, `darkroom.train` and so on are the functions of `darkroom.api`, one per verb,
found on first use: `import darkroom` imports neither pydantic nor ray nor torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "cache", "classify", "evaluate", "finetune", "generate", "open", "prepare", "report", "sample",
    "train", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("darkroom.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
