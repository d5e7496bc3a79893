"""An evaluation as `darkroom evaluate` publishes it: figures, each with N, interval and floor.

`metrics.json` holds an `Evaluation`, the manifest an `EvaluationInfo` with the few figures that a
run ends by printing and a gate looks at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.info import plain_values, read_values
from darkroom.jobs.artifacts.kind import Kind
from darkroom.storage import Artifact

METRICS_FILE = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure of n pictures, with its interval at the evaluation's confidence."""

    value: float
    n: int
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, kw_only=True)
class RealMeasured(Measured):
    """What real pictures score in its place: the floor."""

    num_draws: int | None = None
    """Draws of n real pictures that it is the mean of."""


@dataclass(frozen=True, kw_only=True)
class ClassMeasured(Measured):
    """The figure of one class alone."""

    class_name: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Nearest-neighbour distances: counts between edges."""

    edges: tuple[float, ...]
    generated: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Metric(Measured):
    """One metric. What a metric does not have is None."""

    floor: RealMeasured | None = None
    """None where no real pictures can take their place."""
    ratio: float | None = None
    """value / floor."""
    biased: bool | None = None
    """N is too small for the figure to be compared with others'."""
    dimensions: int | None = None
    """Of the features."""
    features: str | None = None
    """Digest of what made the features."""
    chance: float | None = None
    """What it would be if what was asked were ignored."""
    near_chance: bool | None = None
    """The class that was asked for is ignored."""
    memorising: bool | None = None
    decided: bool | None = None
    """There were pictures enough to say so."""
    note: str = ""
    interval: str | None = None
    """How the interval was made."""
    per_class: tuple[ClassMeasured, ...] = ()
    classes: tuple[str, ...] = ()
    """Of the confusion's rows and columns."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Row: the class asked for; column: the class recognised."""
    histogram: Histogram | None = None
    details: Mapping[str, Any] | None = None
    """Further figures of this metric alone."""


@dataclass(frozen=True, kw_only=True)
class ClassifierFacts:
    """The reference classifier that judged the pictures."""

    digest: str
    test_accuracy: float
    num_test: int
    num_train: int


@dataclass(frozen=True, kw_only=True)
class ReferenceFacts:
    """The real pictures: content says which bytes, wherever they lie."""

    content: str
    num_train: int
    """0 where there is no training split."""
    num_test: int


@dataclass(frozen=True, kw_only=True)
class ExtractorFacts:
    """A network whose features were compared: under another, figures cannot be."""

    digest: str
    resize: str
    """How pictures came to its size."""
    precision: str


@dataclass(frozen=True, kw_only=True)
class DrawnFacts:
    """How the pictures were drawn, where their artifact says it."""

    model: str
    """Digest of the model's contents, where the artifact has it; else of its manifest."""
    num_steps: int
    guidance_scale: float
    seed: int
    sampler: str | None = None
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Difference(Measured):
    """A figure less that of the second set; n is the number of pictures, or of pairs."""

    is_paired: bool
    """Each picture was held against its like: what both owe to their seed cancels."""
    better: Literal["this", "other"] | None = None
    """Which set; None where the interval holds 0, or the figure is no judgement."""
    interval: str
    """How the interval was made."""


@dataclass(frozen=True, kw_only=True)
class SecondSet:
    """Pictures that were measured beside the others, by the same features."""

    num_images: int
    content: str
    """Content digest of the pictures."""
    is_paired: bool
    metrics: Mapping[str, Metric]
    differences: Mapping[str, Difference]
    drawn: DrawnFacts | None = None
    prompts: str | None = None
    """Digest of the prompts, in order; None when any picture has none."""


@dataclass(frozen=True, kw_only=True)
class RequirementVerdict:
    """A requirement of the gate, judged."""

    requirement: str
    """As kernel_inception<0.01."""
    metric: str
    judged: float
    """The bad end of the figure's interval."""
    met: bool
    reason: str
    """The figure, for people."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `metrics.json` holds: equal for equal pictures, so no URIs and no times."""

    num_images: int
    content: str
    """Content digest of the pictures that were measured."""
    dead_letters: Mapping[str, int]
    """Files of a folder that could not be used, by reason."""
    confidence: float
    reference: ReferenceFacts
    classifier: ClassifierFacts | None = None
    metrics: Mapping[str, Metric]
    skipped: Mapping[str, str]
    """Metrics that were left out, and why."""
    verdicts: tuple[RequirementVerdict, ...] = ()
    """What was required of the figures."""
    extractors: Mapping[str, ExtractorFacts] = field(default_factory=dict)
    """By the name of the features."""
    drawn: DrawnFacts | None = None
    prompts: str | None = None
    """Digest of the prompts, in order; None when any picture has none."""
    against: SecondSet | None = None

    @property
    def num_dead_letters(self) -> int:
        """Files that could not be used."""
        return sum(self.dead_letters.values())

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "evaluation") -> Self:
        """Read an evaluation's figures. Errors: DataError, IntegrityError."""
        EvaluationInfo.of(artifact, field=field)
        return read_values(
            cls, artifact.read_json(METRICS_FILE), what=f"has a file {METRICS_FILE}",
            where=str(artifact.uri), field=field, remedy="measure again with `darkroom evaluate`",
        )  # fmt: skip

    def to_json(self) -> bytes:
        """The bytes of `metrics.json`."""
        return json.dumps(_without_none(plain_values(self)), indent=1).encode()


@dataclass(frozen=True, kw_only=True)
class EvaluationInfo(BatchInfo):
    """What an evaluation's manifest says of it; its rows are the pictures of both sides."""

    kind: ClassVar[Kind] = Kind.EVALUATION
    verb: ClassVar[str] = "evaluate"

    num_images: int
    """Generated pictures that were measured."""
    reference: str
    """Content digest of the real pictures."""
    metrics: Mapping[str, Mapping[str, Any]]
    """Metric -> its rounded value, interval, what real pictures score, and verdicts."""
    classifier: ClassifierFacts | None
    skipped: Mapping[str, str]
    """Metrics that were left out, and why."""
    verdicts: tuple[RequirementVerdict, ...] = ()
    """What was required of the figures."""


def _without_none(value: Any) -> Any:
    """JSON values without what a metric does not have."""
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
