"""The reference classifier: a small convolutional network trained on the reference itself.

It judges whether a generated image shows the class that was asked for, and its penultimate layer
is a feature space in which a Frechet distance means something for small images, where
Inception's does not. It is trained afresh from the reference's training split, in seconds to a
minute.

Assumes uint8 images (B, C, H, W) of at least 8x8 with 1 or 3 channels; those above 32 pixels are
averaged down. Training is a pure function of its arguments on one kind of machine: own seed, one
thread, the caller's random state untouched. Leaves splitting the data and keeping the weights to
the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import DataError
from darkroom.metrics.features import MIN_CLASSIFIER_SIDE

FEATURE_DIM = 64
MAX_SIDE = 32
BATCH_SIZE = 64
NUM_STEPS = 400
MAX_IMAGES = NUM_STEPS * BATCH_SIZE
"""More than training ever looks at need not be given."""
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2
LABEL_SMOOTHING = 0.05
MAX_ROTATION_DEGREES = 10.0
MAX_SCALING = 0.1
MAX_SHIFT = 0.08
"""Largest translation, as a share of the image's side."""


class _Network(nn.Module):
    """Two convolutions at full resolution, two at half, then `FEATURE_DIM` features."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(channels, 32), *_block(32, 32), nn.MaxPool2d(2),
            *_block(32, 64), *_block(64, 64), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(4 * 64, FEATURE_DIM), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURE_DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


@dataclass(frozen=True, eq=False)
class ReferenceClassifier:
    """A trained classifier, on the CPU in float32 unless moved."""

    network: nn.Module
    num_classes: int

    def to(self, device: torch.device, dtype: torch.dtype) -> ReferenceClassifier:
        """The same classifier on `device` (the network itself moves)."""
        return ReferenceClassifier(self.network.to(device, dtype), self.num_classes)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, FEATURE_DIM) and logits (N, num_classes), float32, of uint8 (N, C, H, W)."""
        weight = next(self.network.parameters())
        x = network_input(images.to(weight.device)).to(weight.dtype)
        features: Tensor = self.network.get_submodule("body")(x)
        logits: Tensor = self.network.get_submodule("head")(features)
        return features.float().cpu(), logits.float().cpu()

    def to_bytes(self) -> bytes:
        """The weights as safetensors: equal bytes for equal weights."""
        return safetensors.torch.save(self.network.state_dict())


def load_reference_classifier(data: bytes) -> ReferenceClassifier:
    """From what `to_bytes` gave."""
    weights = safetensors.torch.load(data)
    channels, num_classes = weights["body.0.weight"].shape[1], len(weights["head.bias"])
    network = _Network(channels, num_classes)
    network.load_state_dict(weights)
    return ReferenceClassifier(network.eval(), num_classes)


def train_reference_classifier(
    pixels: Tensor, labels: Tensor, num_classes: int, seed: int = 0, *, num_steps: int = NUM_STEPS
) -> ReferenceClassifier:
    """Train on what `network_input` gave and labels (N,) int64 in 0 .. num_classes-1.

    Errors: DataError for labels that cannot be learnt from.
    """
    present = torch.unique(labels).tolist()
    if len(present) < 2:
        raise DataError(
            "labels", present, "the reference classifier needs at least 2 classes",
            "leave the class metrics out",
        )  # fmt: skip
    if present[0] < 0 or present[-1] >= num_classes:
        raise DataError("labels", present[-1], f"must lie in 0 .. {num_classes - 1}")
    with _reproducible(seed):
        network = _Network(pixels.shape[1], num_classes)
        _fit(network, pixels, labels, num_steps)
    return ReferenceClassifier(network.eval(), num_classes)


def network_input(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float32 in [-1, 1], no side above MAX_SIDE.

    Errors: DataError for images below MIN_CLASSIFIER_SIDE.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images: want uint8 (N, 1 or 3, H, W), got {images.dtype} {images.shape}")
    if min(images.shape[-2:]) < MIN_CLASSIFIER_SIDE:
        size = f"{images.shape[-2]}x{images.shape[-1]}"
        least = f"{MIN_CLASSIFIER_SIDE}x{MIN_CLASSIFIER_SIDE}"
        raise DataError("image size", size, f"the reference classifier needs {least}")
    x = images.float() / 127.5 - 1.0
    height, width = (min(side, MAX_SIDE) for side in x.shape[-2:])
    return (
        functional.adaptive_avg_pool2d(x, (height, width)) if x.shape[-2:] != (height, width) else x
    )


def _fit(network: _Network, pixels: Tensor, labels: Tensor, num_steps: int) -> None:
    """AdamW under a one-cycle learning rate, over freshly distorted batches."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_steps)
    batches = _batches(len(pixels), num_steps)
    network.train()
    for rows in batches:
        logits = network(_distort(pixels[rows]))
        loss = functional.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _batches(count: int, num_steps: int) -> Iterator[Tensor]:
    """Row indices of `num_steps` batches that go through shuffled epochs."""
    size = min(BATCH_SIZE, count)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(num_steps):
        if len(order) < size:
            order = torch.randperm(count)
        yield order[:size]
        order = order[size:]


def _distort(x: Tensor) -> Tensor:
    """Small random rotations, scalings and shifts, each image its own."""
    count = len(x)
    angle = torch.empty(count).uniform_(-1, 1) * np.deg2rad(MAX_ROTATION_DEGREES)
    scale = 1 + torch.empty(count).uniform_(-MAX_SCALING, MAX_SCALING)
    # grid_sample's coordinates run over [-1, 1]: a side is 2 long.
    shift = torch.empty(count, 2).uniform_(-2 * MAX_SHIFT, 2 * MAX_SHIFT)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Own random state and one thread, so that the number of cores cannot change the weights."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
