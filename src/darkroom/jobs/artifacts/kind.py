"""The kinds of what verbs publish for others to read, named once.

Storage knows none of them: whether a parent was published stands in the child's manifest.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an artifact is; `manifest.json` has it as text."""

    DATASET = "dataset"
    LATENTS = "latents"
    CHECKPOINT = "checkpoint"
    MODEL = "model"
    SAMPLES = "samples"
    EVALUATION = "evaluation"
    REPORT = "report"
    PICTURES = "pictures"
    PREDICTIONS = "predictions"
    STUDY = "study"
    DRAWINGS = "drawings"
