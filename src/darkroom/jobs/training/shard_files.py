"""A checkpoint's sharded tensors in files: each rank writes its shares, anyone reads what it needs.

torch.distributed.checkpoint with safetensors: the shares say themselves where they belong, so no
rank's file depends on another's and nothing is a pickle. A state keeps a reference in the place
of each tensor. `checkpoint_state.py` reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from darkroom.jobs.training.checkpoint_state import REFERENCE, SHARDS_FOLDER, mapped


def write_shards(state: Any, folder: Path) -> Any:
    """Write this rank's shares of all DTensors below `folder`; the state with references instead.

    Collective: every rank calls it with the same state.
    """
    shares: dict[str, Tensor] = {}

    def refer(value: Any, path: str) -> Any:
        if not isinstance(value, DTensor):
            return value
        shares[path] = value.detach()
        return {REFERENCE: [path, list(value.shape), str(value.dtype).removeprefix("torch.")]}

    rest = mapped(state, refer)
    if shares:
        files = folder / SHARDS_FOLDER
        files.mkdir(parents=True, exist_ok=True)
        save(shares, storage_writer=HuggingFaceStorageWriter(str(files), save_distributed=True))
    return rest
