"""Tensors of a file of weights, as whoever trained them saved them, fitted onto a model.

Read are safetensors and PyTorch files of tensors alone, by the bytes and not by the name. A
checkpoint of training is unwrapped, and prefixes that wrappers put before names (`module.`,
`model.`, `_orig_mod.`, a Lightning attribute's) are taken off. Where averaged weights (EMA) lie
beside the others they are taken, as torchvision and timm do. Then every tensor must fit.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from torch import nn

from darkroom.contents import HEAD_BYTES, foreign
from darkroom.errors import DataError
from darkroom.models.files import is_safetensors

FIELD = "model.weights"

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema", "ema")
_WRAPPERS = ("state_dict", "model", "model_state_dict", "module", "net", "network", "params")
_COMPILED = "_orig_mod."


def read_state(path: Path, *, where: str, field: str = FIELD) -> tuple[Mapping[str, Any], str]:
    """The state dict in a file, and the key of a checkpoint that it stood under ("" for none).

    Errors: DataError naming `field` and `where` for what holds no tensors.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = foreign(head)
    if found is not None:
        raise DataError(field, where, found.what, found.remedy)
    if is_safetensors(head):
        return _safetensors(path, where, field), ""
    return _pickled(path, where, field)


def fit_state(model: nn.Module, state: Mapping[str, Any], *, where: str, field: str = FIELD) -> str:
    """Load a state dict strictly; returns the prefix that was taken off its names.

    Errors: DataError naming what differs.
    """
    own = model.state_dict()
    plain = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    prefix = _prefix(plain, own, where, field)
    fitted = {
        name.removeprefix(prefix): value
        for name, value in plain.items()
        if name.startswith(prefix)
    }  # fmt: skip
    _check(fitted, own, where, field)
    model.load_state_dict(fitted)
    return prefix


def _prefix(
    state: Mapping[str, Any], own: Mapping[str, torch.Tensor], where: str, field: str
) -> str:
    """What stands before the model's own names: nothing, or a wrapper's name."""
    if own.keys() <= state.keys():
        return ""
    last = max(own, key=len)
    prefixes = {""} | {name.removesuffix(last) for name in state if name.endswith(f".{last}")}
    fits = {prefix: sum(prefix + name in state for name in own) for prefix in prefixes}
    best = [prefix for prefix, number in fits.items() if number == max(fits.values())]
    averaged = [prefix for prefix in best if "ema" in prefix.lower() or "avg" in prefix.lower()]
    if len(best) > 1 and len(averaged) != 1:
        raise DataError(
            field, where, f"holds the model several times ({', '.join(sorted(best))})",
            "save the one that is meant alone, as the model's state_dict()",
        )  # fmt: skip
    return (averaged or best)[0]


def _check(
    state: Mapping[str, Any], own: Mapping[str, torch.Tensor], where: str, field: str
) -> None:
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    other = [
        f"{name}: {list(state[name].shape)} and not {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or unknown or other:
        found = (("missing", missing), ("unknown", unknown), ("of other shape", other))
        faults = [f"{len(names)} {what} (first: {names[0]})" for what, names in found if names]
        raise DataError(
            field, where, f"does not fit the model: {', '.join(faults)} tensors",
            "name the model that these weights were trained as, and its labels",
        )  # fmt: skip


def _safetensors(path: Path, where: str, field: str) -> Mapping[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # a header that lies raises anything
        raise DataError(
            field, where, "is safetensors that is cut off or damaged",
            "write or download it again",
        ) from error  # fmt: skip


def _pickled(path: Path, where: str, field: str) -> tuple[Mapping[str, Any], str]:
    """A PyTorch file, tensors only: nothing in it is executed."""
    try:
        with torch.serialization.safe_globals(_harmless()):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything
        raise DataError(
            field, where, f"is neither safetensors nor tensors alone ({_reason(error)})",
            "save the model's state_dict(), best as safetensors",
        ) from error  # fmt: skip
    keys = []
    while isinstance(values, Mapping) and (key := _wrapper(values)):
        keys.append(key)
        values = values[key]
    tensors = isinstance(values, Mapping) and {
        name: value for name, value in values.items() if isinstance(value, torch.Tensor)
    }
    if not isinstance(values, Mapping) or len(tensors or ()) < len(values) or not tensors:
        raise DataError(field, where, "is no state dict", "save the model's state_dict()")
    return tensors, ".".join(keys)


def _wrapper(values: Mapping[str, Any]) -> str | None:
    """The key that a checkpoint of training keeps the model under."""
    names = (*_AVERAGED, *_WRAPPERS)
    return next(
        (name for name in names if values.get(name) and isinstance(values[name], Mapping)), None
    )


def _harmless() -> list[Any]:
    """What checkpoints of training keep beside tensors: arguments, paths and measures."""
    numbers = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64")]
    scalar = np.float64(0).__reduce__()[0]
    return [argparse.Namespace, PosixPath, np.dtype, scalar, *numbers]


def _reason(error: Exception) -> str:
    """Without torch's advice to load it all the same."""
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds a {found[1]}"
    if "PytorchStreamReader" in str(error):
        return "it is cut off or damaged"
    return "it is no file that torch.save wrote"
