"""The model's stage: uint8 pixels to labels, probabilities and entropy, on an actor.

Batches are cut inside the piece, so they are the same whenever the piece is done again. On a GPU
the last one is padded (one shape, one compiled graph) and the model runs in bfloat16 with its
channels last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from darkroom.config import build_config
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.stages import KEPT, Pixels, column_pixels
from darkroom.jobs.rejects import Rejects
from darkroom.models.classifier import Classifier
from darkroom.models.weights import Weights, load_classifier

OUTPUT_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field(ID, pa.string(), nullable=False),
        pa.field("expected", pa.string()),
        pa.field("label", pa.string(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("top_labels", pa.list_(pa.string()), nullable=False),
        pa.field("top_probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("entropy", pa.float32(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_digest", pa.string(), nullable=False),
    ]
)
"""What the predictions' files hold. `entropy` in nats, over all labels."""


def modelling(config: ClassifyConfig, classifier: Classifier, weights: Weights) -> Stage:
    """The model's stage."""
    make = partial(Model, config.to_dict(), classifier, weights)
    return Stage.of(config.models, name="model", make=make, actor=True)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of N pictures: the k likeliest labels of each, and its entropy in nats."""

    indices: np.ndarray[Any, np.dtype[np.int64]]
    probabilities: np.ndarray[Any, np.dtype[np.float32]]
    entropy: np.ndarray[Any, np.dtype[np.float32]]


class Model:
    """One copy of the classifier."""

    def __init__(
        self, config_values: dict[str, Any], classifier: Classifier, weights: Weights
    ) -> None:
        config = build_config(ClassifyConfig, config_values)
        self._labels = np.asarray(classifier.labels, dtype=object)
        self._size = classifier.preprocess.crop
        self._name, self._digest = classifier.name, weights.digest
        self._predictor = Predictor(
            load_classifier(classifier, weights),
            classifier,
            device=claim_device(config),
            batch_size=config.batch_size,
            top_k=min(config.top_k, len(classifier.labels)),
            dtype=config.dtype,
            compiled=config.compile,
        )

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        found = self._predictor.predict(column_pixels(rows["pixels"], self._size))
        labels_NK = self._labels[found.indices]
        columns = {name: rows[name] for name in KEPT} | {
            "label": pa.array(labels_NK[:, 0], pa.string()),
            "confidence": pa.array(found.probabilities[:, 0], pa.float32()),
            "top_labels": pa.array(labels_NK.tolist(), pa.list_(pa.string())),
            "top_probabilities": pa.array(list(found.probabilities), pa.list_(pa.float32())),
            "entropy": pa.array(found.entropy, pa.float32()),
            "model": pa.array([self._name] * len(rows), pa.string()),
            "model_digest": pa.array([self._digest] * len(rows), pa.string()),
        }
        return pa.table({name: columns[name] for name in OUTPUT_SCHEMA.names})


class Predictor:
    """A model on its device, from uint8 pixels on."""

    def __init__(
        self,
        model: nn.Module,
        classifier: Classifier,
        *,
        device: torch.device,
        batch_size: int,
        top_k: int,
        dtype: str = "auto",
        compiled: bool = True,
    ) -> None:
        on_gpu = device.type == "cuda"
        wide = dtype == "float32" or (dtype == "auto" and not on_gpu)
        self._dtype = torch.float32 if wide else torch.bfloat16
        self._device, self._batch_size, self._top_k = device, batch_size, top_k
        self._pads = on_gpu
        model = model.to(device=device, dtype=self._dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model = torch.compile(model, dynamic=False) if on_gpu and compiled else model
        mean, std = classifier.preprocess.mean, classifier.preprocess.std
        # (x / 255 - mean) / std as one multiplication and one addition.
        self._scale = self._constant([1 / (255 * one) for one in std])
        self._shift = self._constant([-m / s for m, s in zip(mean, std, strict=True)])

    def predict(self, pixels_NHWC: Pixels) -> Predictions:
        """The k likeliest labels of each picture."""
        parts = list(self._batches(pixels_NHWC))
        indices, probabilities, entropy = (
            torch.cat(part).numpy() for part in zip(*parts, strict=True)
        )
        return Predictions(indices, probabilities, entropy)

    @torch.inference_mode()
    def _batches(self, pixels_NHWC: Pixels) -> Iterator[tuple[torch.Tensor, ...]]:
        for start in range(0, len(pixels_NHWC), self._batch_size):
            batch = pixels_NHWC[start : start + self._batch_size]
            log_probabilities = self.logits(batch).float().log_softmax(dim=-1)
            probabilities = log_probabilities.exp()
            top = probabilities.topk(self._top_k, dim=-1)
            entropy = -(probabilities * log_probabilities).sum(dim=-1)
            yield top.indices.cpu(), top.values.cpu(), entropy.cpu()

    @torch.inference_mode()
    def logits(self, pixels_NHWC: Pixels) -> torch.Tensor:
        """N x labels. The pixels' own layout is what torch calls channels last."""
        missing = self._batch_size - len(pixels_NHWC) if self._pads else 0
        # A copy: torch takes no read-only memory.
        x = torch.from_numpy(np.pad(pixels_NHWC, ((0, missing), (0, 0), (0, 0), (0, 0))))
        x = x.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        out: torch.Tensor = self._model(self.normalised(x))
        return out[: len(pixels_NHWC)]

    def normalised(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """uint8 to what the model was trained on."""
        return (x_NCHW.to(torch.float32) * self._scale + self._shift).to(self._dtype)

    def _constant(self, values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)


def claim_device(config: ClassifyConfig) -> torch.device:
    """This worker's GPU with its share of the memory, or the CPU with its share of the cores."""
    models = config.models
    if models.num_gpus:
        if models.num_gpus < 1:
            # Ray's fraction is bookkeeping: without a cap the first model takes what it likes.
            torch.cuda.set_per_process_memory_fraction(models.num_gpus)
        return torch.device("cuda")
    cores = os.cpu_count() or 1
    torch.set_num_threads(models.num_threads or max(1, cores // models.num_workers))
    return torch.device("cpu")
