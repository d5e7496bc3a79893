"""What `darkroom evaluate` measures: the settings of one evaluation.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated

from darkroom.config import Place, PositiveInt, operational
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.measuring.config import MeasuringConfig


class EvaluateConfig(MeasuringConfig, BatchConfig):
    """Measure generated pictures against a prepared data set."""

    input: Annotated[Place, operational()]
    """URI of samples (what `darkroom sample` published), or a folder of pictures; subfolders
    named after classes are the asked classes."""
    reference: Annotated[Place, operational()]
    """URI of the prepared data set, with a training and a test split."""
    limit: PositiveInt | None = None
    """Use at most this many pictures of the input, drawn from all classes: a quick look."""
