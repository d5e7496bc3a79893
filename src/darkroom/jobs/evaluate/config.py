"""What `darkroom evaluate` measures: the settings of one evaluation.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from darkroom.config import JobConfig, Place, PositiveInt, operational

MetricName = Literal[
    "frechet_pixels",
    "frechet_classifier",
    "kernel_pixels",
    "kernel_classifier",
    "class_accuracy",
    "memorisation",
]
Device = Literal["auto", "cpu", "cuda"]


class EvaluateConfig(JobConfig):
    """Measure generated pictures against a prepared data set."""

    input: Annotated[Place, operational()]
    """URI of samples (what `darkroom sample` published), or a folder of pictures; subfolders
    named after classes are the asked classes."""
    reference: Annotated[Place, operational()]
    """URI of the prepared data set, with a training and a test split."""
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = get_args(MetricName)
    """Which figures to compute."""
    limit: PositiveInt | None = None
    """Use at most this many pictures of the input, drawn from all classes: a quick look."""
    num_bootstrap: Annotated[int, Field(ge=20)] = 200
    """Resamples behind each interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of each interval."""
    num_floor_draws: PositiveInt = 10
    """Draws of real training pictures behind each floor."""

    batch_size: Annotated[PositiveInt, operational()] = 512
    """Pictures decoded and measured at once."""
    device: Annotated[Device, operational()] = "auto"
    """auto takes a GPU when there is one."""
