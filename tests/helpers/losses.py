"""Losses of one's own, as `losses.custom.function` names them, and a network of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ResNetConfig, ResNetModel

from darkroom.jobs.training.training_stream import Batch, num_rows


def absolute_error(
    prediction: Tensor, target: Tensor, x0_hat: Tensor, timesteps: Tensor, batch: Batch
) -> Tensor:
    """Asks for all that a function gets."""
    assert x0_hat.shape == prediction.shape
    assert timesteps.shape == (num_rows(batch),)
    assert len(batch["caption"]) == len(prediction)
    return (prediction - target).abs().flatten(1).mean(1)


def nan_late(prediction: Tensor, _: Tensor, __: Tensor, ___: Tensor, batch: Batch) -> Tensor:
    """NaN from the third step on, without a gradient that would tell of it."""
    values = prediction.detach().flatten(1).mean(1)
    return values * float("nan") if batch["step"] >= 2 else values


def one_for_all(prediction: Tensor, *_: Any) -> Tensor:
    """A value for no row."""
    return prediction.mean()


def whole_numbers(prediction: Tensor, *_: Any) -> Tensor:
    """Nothing with a gradient."""
    return torch.zeros(len(prediction), dtype=torch.int64)


def no_tensor(*_: Any) -> float:
    """Nothing to work with."""
    return 1.0


def fails(*_: Any) -> Tensor:
    """As a function of one's own may."""
    raise KeyError("mask")


NOT_CALLABLE = 3


def save_features(folder: Path) -> Path:
    """A tiny ResNet of random weights, as a transformers folder."""
    torch.manual_seed(11)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_channels=3
    )
    network: Any = ResNetModel(config)
    network.eval().save_pretrained(folder)
    return folder
