"""What is measured, how sure the figures are to be, and the workers that make the features.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from darkroom.config import Config, PositiveInt, operational
from darkroom.jobs.drawing.config import WorkerConfig

MetricName = Literal[
    "frechet_pixels",
    "frechet_classifier",
    "kernel_pixels",
    "kernel_classifier",
    "class_accuracy",
    "memorisation",
]


class MeasuringConfig(Config):
    """Which figures, and how their intervals and floors are made."""

    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = get_args(MetricName)
    """Which figures to compute."""
    num_bootstrap: Annotated[int, Field(ge=20)] = 200
    """Resamples behind each interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of each interval."""
    num_floor_draws: PositiveInt = 10
    """Draws of real training pictures behind each floor."""
    read_concurrency: Annotated[int, operational(ge=1, le=256)] = 16
    """Files that one reader reads at once."""
    extractors: WorkerConfig = WorkerConfig()
    """The workers of each network that makes features; pixels need none."""
