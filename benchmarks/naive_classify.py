"""The pipeline that public examples of batch classification show, to measure against.

Each picture is a row with its decoded original in it; a per-row `map` makes float32 tensors of
it, and both travel to the model, which keeps the original beside its prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy
from torchvision.transforms import v2

from darkroom.models.classifier import Classifier
from darkroom.models.weights import Weights, load_classifier


def preprocess_row(row: dict[str, Any], resize: int, crop: int) -> dict[str, Any]:
    """One picture to a normalised float32 tensor; the original stays beside it."""
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(resize, antialias=True),
            v2.CenterCrop(crop),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    return {
        "path": row["path"],
        "original_image": row["image"],
        "norm_image": transform(row["image"]).numpy(),
    }


class Classify:
    """A batch of tensors to labels."""

    def __init__(self, classifier: Classifier, weights: Weights, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._labels = np.asarray(classifier.labels)
        self._model = load_classifier(classifier, weights)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        with torch.inference_mode():
            out = self._model(torch.from_numpy(np.array(batch["norm_image"])))
        return {
            "path": batch["path"],
            "original_image": batch["original_image"],
            "label": self._labels[out.argmax(dim=1).numpy()],
        }


def run_naive(
    folder: str,
    output: str,
    classifier: Classifier,
    weights: Weights,
    *,
    batch_size: int,
    num_threads: int,
    filesystem: Any = None,
) -> ray.data.Dataset:
    """The whole pipeline, predictions written as Parquet without the pictures.

    filesystem: of pyarrow, where the folder and the output are no local ones.
    """
    sizes = {"resize": classifier.preprocess.resize, "crop": classifier.preprocess.crop[0]}
    row_map: Any = preprocess_row  # Ray's types know no further arguments
    dataset = (
        ray.data.read_images(folder, filesystem=filesystem, mode="RGB", include_paths=True)
        .map(row_map, fn_kwargs=sizes)
        .map_batches(
            Classify,
            fn_constructor_args=(classifier, weights, num_threads),
            batch_size=batch_size,
            compute=ActorPoolStrategy(size=1),
        )
        .drop_columns(["original_image"])
    )
    dataset.write_parquet(output, filesystem=filesystem)
    return dataset
