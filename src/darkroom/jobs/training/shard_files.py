"""A checkpoint's sharded tensors in files: each rank writes its shares, anyone reads what it needs.

torch.distributed.checkpoint with safetensors: the shares say themselves where they belong, so no
rank's file depends on another's and nothing is a pickle. A state keeps a reference in the place
of each tensor. Read on other ranks, or on none, the same files give other shares, or the whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

SHARDS_FOLDER = "shards"
"""Beside the state's own file."""
_REFERENCE = "darkroom.shards"

Empty = Callable[[tuple[int, ...], torch.dtype], Tensor]
"""(shape, type) -> a tensor of that global shape to read into."""


def write_shards(state: Any, folder: Path) -> Any:
    """Write this rank's shares of all DTensors below `folder`; the state with references instead.

    Collective: every rank calls it with the same state.
    """
    shares: dict[str, Tensor] = {}

    def refer(value: Any, path: str) -> Any:
        if not isinstance(value, DTensor):
            return value
        shares[path] = value.detach()
        return {_REFERENCE: [path, list(value.shape), str(value.dtype).removeprefix("torch.")]}

    rest = _mapped(state, refer)
    if shares:
        files = folder / SHARDS_FOLDER
        files.mkdir(parents=True, exist_ok=True)
        save(shares, storage_writer=HuggingFaceStorageWriter(str(files), save_distributed=True))
    return rest


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
        if not (isinstance(value, Mapping) and _REFERENCE in value):
            return value
        path, shape, dtype = value[_REFERENCE]
        read[path] = make(tuple(shape), getattr(torch, dtype))
        return read[path]

    state = _mapped(state, resolve)
    if read:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(
                dict(read),
                storage_reader=HuggingFaceStorageReader(str(file.parent / SHARDS_FOLDER)),
                no_dist=True,
            )
    return state


def _whole(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def _mapped(value: Any, change: Callable[[Any, str], Any], path: str = "") -> Any:
    """A tree of mappings and lists with its leaves changed; a leaf's path names it."""
    changed = change(value, path)
    if changed is not value:
        return changed
    if isinstance(value, Mapping):
        pairs = {key: _mapped(each, change, f"{path}{key}/") for key, each in value.items()}
        return pairs if type(value) is dict else type(value)(pairs)  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        items = [_mapped(each, change, f"{path}{number}/") for number, each in enumerate(value)]
        return items if isinstance(value, list) else type(value)(items)
    return value
