"""What `darkroom evaluate` measures: the settings of one evaluation.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from darkroom.config import Place, PositiveInt, operational
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.measuring.config import MeasuringConfig


class EvaluateConfig(MeasuringConfig, BatchConfig):
    """Measure generated pictures against real ones."""

    input: Annotated[Place, operational()]
    """URI of samples (what `darkroom sample` published), or a folder of pictures; subfolders
    named after classes are the asked classes. Or of a model, which then draws them first."""
    reference: Annotated[Place, operational()]
    """URI of the prepared data set, with a training and a test split; or a folder of pictures, or
    an evaluation that kept its reference."""
    against: Annotated[Place | None, operational()] = None
    """URI of a second set of pictures, or of a second model, measured beside the first: each figure
    of both, and the interval of their difference. null is none."""
    sample: dict[str, Any] = Field(default_factory=dict)
    """For a model as the input: settings of `darkroom sample`, as num_images or text.prompts."""
    keep_reference: bool = False
    """Publish the reference's features with the figures, for later evaluations to take as their
    reference."""
    limit: PositiveInt | None = None
    """Use at most this many pictures of the input, drawn from all classes: a quick look."""
