"""Weights as training programs save them, and files that are none."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from darkroom.errors import DataError
from darkroom.models.state import fit_state, read_state

State = dict[str, torch.Tensor]


class Small(nn.Module):
    """A model whose own names begin like a wrapper's."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)


def state_of(seed: int) -> State:
    torch.manual_seed(seed)
    model = Small()
    nn.init.normal_(model.model.weight)
    return dict(model.state_dict())


STATE, OTHER = state_of(1), state_of(2)


def under(prefix: str, state: State = STATE) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(path: Path, values: Any) -> Path:
    torch.save(values, path)
    return path


@pytest.mark.parametrize(
    "values",
    [
        STATE,
        under("module."),
        under("_orig_mod."),
        under("module._orig_mod."),
        {name.replace("norm.", "norm._orig_mod."): tensor for name, tensor in STATE.items()},
        under("model."),
        under("net.backbone."),
        {"state_dict": STATE, "epoch": 3, "best": np.float64(0.9)},
        {"model": under("module."), "optimizer": {"state": {}}, "args": argparse.Namespace(lr=1)},
        {"model_state_dict": STATE, "path": Path("run")},
        {"state_dict": {**under("model."), "criterion.weight": torch.ones(3)}},
        {"model": OTHER, "model_ema": {**under("module."), "n_averaged": torch.tensor(3)}},
        {"state_dict": OTHER, "state_dict_ema": STATE},
        {"state_dict": {**under("model.", OTHER), **under("ema_model.")}},
        {"model": {"state_dict": STATE}},
    ],
)
def test_the_model_is_found_in_what_training_saved(tmp_path: Path, values: Any) -> None:
    model = Small()
    state, _ = read_state(saved(tmp_path / "w", values), where="w")
    fit_state(model, state, where="w")
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())


def test_prefixes_in_safetensors_too(tmp_path: Path) -> None:
    save_file(under("_orig_mod."), tmp_path / "w")
    model = Small()
    state, place = read_state(tmp_path / "w", where="w")
    assert (place, fit_state(model, state, where="w")) == ("", "")
    assert torch.equal(model.model.weight, STATE["model.weight"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**STATE, "more": torch.ones(1)}, r"1 unknown \(first: more\)"),
        (under("model.") | {"model.more": torch.ones(1)}, r"1 unknown \(first: more\)"),
        ({n: t for n, t in under("net.").items() if "bias" not in n}, r"2 missing \(first: model"),
        ({**under("a."), **under("b.", OTHER)}, r"several times \(a\., b\.\)"),
        ({"norm.weight": torch.ones(4)}, r"6 missing.*1 of other shape"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, values: Any, message: str) -> None:
    state, _ = read_state(saved(tmp_path / "w", values), where="w")
    with pytest.raises(DataError, match=message):
        fit_state(Small(), state, where="w")


def header(values: Any, data: bytes = b"") -> bytes:
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


def cut(fraction: float, save: Callable[[Path], object]) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        save(folder / "whole")
        data = (folder / "whole").read_bytes()
        return data[: int(len(data) * fraction)]

    return make


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html>404", "a web page"),
        (b"<?xml version='1.0'?><Error>", "error answer"),
        (bytes(4096), "NUL bytes only"),
        (b'{"error": "not found"}', "is neither safetensors nor tensors"),
        (cut(0.9, lambda path: save_file(STATE, path)), "safetensors that is cut off"),
        (cut(0.2, lambda path: save_file(STATE, path)), "safetensors that is cut off"),
        (cut(0.5, lambda path: saved(path, STATE)), "neither .*cut off or damaged"),
        (header(tensor(), b"\0" * 8), "safetensors that is cut off or damaged"),
        (header(tensor(data_offsets=[0, 1 << 62]), b"\0" * 4), "cut off or damaged"),
        (header(tensor(data_offsets=[4, 0]), b"\0" * 4), "cut off or damaged"),
        (header(tensor(shape=[1 << 62, 1 << 62]), b"\0" * 4), "cut off or damaged"),
        (header(tensor(shape=[-1]), b"\0" * 4), "cut off or damaged"),
        (header(tensor(dtype="F31"), b"\0" * 4), "cut off or damaged"),
        (header({"a": 1}), "cut off or damaged"),
        (header(b'{"a":' * 5000), "cut off or damaged"),
        (header(b"{}"), "does not fit the model: 7 missing"),
        (header(b"{not json}"), "cut off or damaged"),
        ((99 << 20).to_bytes(8, "little") + b"{}", "cut off or damaged"),
    ],
)
def test_a_file_without_weights_is_one_clear_line(
    tmp_path: Path, data: bytes | Callable[[Path], bytes], message: str
) -> None:
    (tmp_path / "w").write_bytes(data if isinstance(data, bytes) else data(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        fit_state(Small(), read_state(tmp_path / "w", where="w")[0], where="w")
    assert str(caught.value).startswith("model.weights: got 'w'")
    assert str(caught.value).isprintable()


def test_what_a_pickle_holds_besides_is_named_without_torchs_advice(tmp_path: Path) -> None:
    saved(tmp_path / "w", Small())
    with pytest.raises(DataError, match=r"tensors alone \(it holds a .*Small\); save the model"):
        read_state(tmp_path / "w", where="w")
