"""A study: many runs and the best of them, as `darkroom tune` publishes it.

`trials.parquet` has a row per trial, `best.yaml` the config that `darkroom train --config` takes,
`study.html` the page. The runs themselves lie below the study, each an output of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.kind import Kind

TRIALS_FILE = "trials.parquet"
BEST_FILE = "best.yaml"
PAGE_FILE = "study.html"

TrialState = Literal["complete", "stopped", "failed"]
"""complete: trained to its end. stopped: halving ended it. failed: an error did."""


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """One config trained with further seeds."""

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    """The objective of each seed whose run has ended well."""
    mean: float | None
    deviation: float | None
    """Sample standard deviation; None below two values."""


@dataclass(frozen=True, kw_only=True)
class StudyInfo(Info):
    """What a study's manifest says of it."""

    kind: ClassVar[Kind] = Kind.STUDY
    verb: ClassVar[str] = "tune"

    tuned: str
    """The verb that was run."""
    objective: str
    larger_is_better: bool
    axes: tuple[str, ...]
    """Fields that were tried."""
    num_trials: Mapping[TrialState, int]
    best_trial: int
    best_value: float
    best: Mapping[str, Any]
    """Field -> value in the best run."""
    rungs: tuple[int, ...]
    """Steps at which runs could be stopped; none without halving."""
    worker_seconds: float
    """Of all runs, the confirming ones too."""
    confirmed: Confirmation | None
    """The best config with further seeds."""
    untuned: Confirmation | None
    """The run as it was before, with the same seeds."""
