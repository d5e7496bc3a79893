"""What pictures are compared by: each extractor turns pixels into one or more feature columns.

Pixels are features as they come. A network is an `Extractor`: a small picklable value that names
its columns, and loads itself in the actor that runs it. The reference classifier is trained there
too, on the reference's training split, once for a run: its weights are a file of the run that
every actor and every resumed run takes as it finds them, whatever machine they are on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.batch.once import made_once
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.entries import CLASSIFIER, LOGITS
from darkroom.storage import PartWriter

WEIGHTS_NAME = "classifier.safetensors"

Extract = Callable[[NDArray[np.uint8], Sequence[str | None]], Mapping[str, NDArray[np.float32]]]
"""Pictures (N, C, H, W) and their prompts to features (N, D), by column."""


class Extractor(Protocol):
    """Makes feature columns in an actor of its own."""

    @property
    def name(self) -> str:
        """Of its stage."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it adds to the rows."""

    def load(self, workers: WorkerConfig) -> Extract:
        """The network on the worker's device; called in the actor."""


@dataclass(frozen=True)
class ClassifierExtractor:
    """The reference classifier: its last hidden layer and its logits."""

    name: ClassVar[str] = "classifier"
    columns: ClassVar[tuple[str, ...]] = (CLASSIFIER, LOGITS)

    writer: PartWriter
    reference: PictureOrigin
    seed: int
    is_kept: bool = False
    """The reference is an evaluation that has the weights."""

    def load(self, workers: WorkerConfig) -> Extract:
        """Train it, unless the run has it already."""
        import torch

        from darkroom.jobs.drawing.device import DTYPES, prepare_device
        from darkroom.metrics.classifier import load_reference_classifier

        weights = made_once(self.writer, WEIGHTS_NAME, self._trained)
        device = prepare_device(workers, len(weights), prefix="extractors.")
        classifier = load_reference_classifier(weights).to(device, DTYPES[workers.precision])

        def extract(
            images: NDArray[np.uint8], _: Sequence[str | None]
        ) -> Mapping[str, NDArray[np.float32]]:
            features, logits = classifier(torch.from_numpy(images.copy()))
            return {CLASSIFIER: features.numpy(), LOGITS: logits.numpy()}

        return extract

    def _trained(self) -> bytes:
        if self.is_kept:
            return self.reference.open().read_bytes(WEIGHTS_NAME)
        import torch

        from darkroom.metrics.classifier import (
            MAX_IMAGES,
            network_input,
            train_reference_classifier,
        )

        dataset = Dataset.of(self.reference.open())
        shape = dataset.shape()
        count = dataset.row_groups("train").num_rows
        chosen = set(np.random.default_rng(self.seed).permutation(count)[:MAX_IMAGES].tolist())
        inputs, labels = [], []
        for at, row in enumerate(dataset.rows("train")):
            if at in chosen:
                inputs.append(network_input(torch.from_numpy(row.pixels(shape)[None].copy())))
                labels.append(row.label)
        classifier = train_reference_classifier(
            torch.cat(inputs), torch.tensor(labels), len(dataset.info.classes), self.seed
        )
        return classifier.to_bytes()
