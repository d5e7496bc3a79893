"""Predictions: a label for each picture, as `darkroom classify` publishes them.

Rows are in `data/part-NNNNN.parquet`; `confusion.parquet` where classes mean labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.kind import Kind


@dataclass(frozen=True, kw_only=True)
class ClassifierName:
    """Which classifier predicted."""

    library: str
    name: str
    weights: str
    digest: str
    num_labels: int


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the class of the input is the label."""

    num_scored: int
    """Pictures whose class means a label."""
    accuracy: float
    top_k: int
    top_k_accuracy: float
    unmapped_classes: tuple[str, ...]
    """Classes that mean no label."""


@dataclass(frozen=True, kw_only=True)
class PredictionsInfo(BatchInfo):
    """What the manifest of predictions says of them."""

    kind: ClassVar[Kind] = Kind.PREDICTIONS
    verb: ClassVar[str] = "classify"

    model: ClassifierName
    input: str
    classes: tuple[str, ...]
    """Of the input, those with a usable picture."""
    num_skipped: Mapping[str, int]
    """Files that are no pictures by their names, by extension."""
    score: Accuracy | None = None
    """None when no class means a label."""
