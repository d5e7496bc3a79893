"""A checkpoint's state as anyone reads it: whole or in shares, and with no network or Lightning.

Read on other ranks, or on none, the files of `shard_files.py` give other shares, or the whole. The
task that exports a model reads this way, and would import Lightning for nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SHARDS_FOLDER = "shards"
"""Beside the state's own file."""
REFERENCE = "darkroom.shards"
"""The key of what stands for a tensor that is in the shards: its path there, shape and type."""

Empty = Callable[[tuple[int, ...], torch.dtype], Tensor]
"""(shape, type) -> a tensor of that global shape to read into."""


def is_sharded(folder: Path) -> bool:
    """Whether the checkpoint there has shards."""
    return (folder / SHARDS_FOLDER).is_dir()


def read_state(
    file: Path, *, empty: Empty | None = None, parts: Collection[str] | None = None
) -> Any:
    """A checkpoint's state with its tensors in it.

    empty: makes what is read into; by default whole tensors on the CPU. parts: only these
    entries. Not collective.
    """
    state = torch.load(file, map_location="cpu", weights_only=True)
    if parts is not None:
        state = {name: state[name] for name in parts}
    make = empty or _whole
    read: dict[str, Tensor] = {}

    def resolve(value: Any, _path: str) -> Any:
        if not (isinstance(value, Mapping) and REFERENCE in value):
            return value
        path, shape, dtype = value[REFERENCE]
        read[path] = make(tuple(shape), getattr(torch, dtype))
        return read[path]

    state = mapped(state, resolve)
    if read:
        # A second to import, and most states are in one piece.
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(
                dict(read),
                storage_reader=HuggingFaceStorageReader(str(file.parent / SHARDS_FOLDER)),
                no_dist=True,
            )
    return state


def averaged_weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The average in a checkpoint's state, by the module's names."""
    ema = state["ema"]
    return dict(zip(ema["names"], ema["shadow_params"], strict=True))


def _whole(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def mapped(value: Any, change: Callable[[Any, str], Any], path: str = "") -> Any:
    """A tree of mappings and lists with its leaves changed; a leaf's path names it."""
    changed = change(value, path)
    if changed is not value:
        return changed
    if isinstance(value, Mapping):
        pairs = {key: mapped(each, change, f"{path}{key}/") for key, each in value.items()}
        return pairs if type(value) is dict else type(value)(pairs)  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        items = [mapped(each, change, f"{path}{number}/") for number, each in enumerate(value)]
        return items if isinstance(value, list) else type(value)(items)
    return value
