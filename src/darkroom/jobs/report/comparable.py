"""Which evaluations may stand side by side, and how their sets of pictures differ.

A figure means something beside another's when both were measured against the same real pictures,
by the same features, and of as many pictures where it moves with their number. Anything else is
refused: a table would hide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darkroom.errors import DataError
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.measuring.comparison import CLIP
from darkroom.jobs.measuring.names import CLIP_SCORE, LPIPS, LPIPS_DIVERSITY, moves_with_number
from darkroom.storage import Artifact, open_artifact

AXES: Mapping[str, str] = {
    "model": "model",
    "sampler": "sampler",
    "num_steps": "steps",
    "guidance_scale": "guidance",
    "seed": "seed",
    "precision": "precision",
}
"""Fields of `DrawnFacts` as people call them, in the order of a table."""


@dataclass(frozen=True)
class SideEvaluation:
    """One of several evaluations."""

    artifact: Artifact
    evaluation: Evaluation

    def setting(self, axis: str) -> str:
        """How its pictures were drawn, for people; empty where that is not known."""
        value = getattr(self.evaluation.drawn, axis, None)
        if value is None:
            return ""
        if isinstance(value, str):
            return value[:12] if axis == "model" else value
        return f"{value:g}" if axis == "guidance_scale" else str(value)

    @property
    def name(self) -> str:
        """The last part of where it lies."""
        return self.artifact.uri.name


def open_comparable(uris: Sequence[str]) -> list[SideEvaluation]:
    """The evaluations at `uris`, which may be compared with the first.

    Errors: DataError naming the first that may not, and why.
    """
    found: list[SideEvaluation] = []
    for at, uri in enumerate(uris):
        artifact = open_artifact(uri)
        field = "beside" if at else "input"
        one = SideEvaluation(artifact, Evaluation.of(artifact, field=field))
        for other in found:
            if problem := _problem(one, other):
                what, remedy = problem
                raise DataError(field, uri, f"{what} {other.artifact.uri}", remedy)
        found.append(one)
    return found


def varying(evaluations: Sequence[SideEvaluation]) -> list[str]:
    """The axes along which the sets differ."""
    return [axis for axis in AXES if len({one.setting(axis) for one in evaluations}) > 1]


def shared_metrics(evaluations: Sequence[SideEvaluation]) -> list[str]:
    """Figures that all have, in the order of the first."""
    return [
        name
        for name in evaluations[0].evaluation.metrics
        if all(name in one.evaluation.metrics for one in evaluations)
    ]


def _problem(one: SideEvaluation, other: SideEvaluation) -> tuple[str, str] | None:
    """Why the two may not be compared, and what helps."""
    this, that = one.evaluation, other.evaluation
    if one.artifact.digest == other.artifact.digest:
        return "is the same evaluation as", "name each once"
    if this.reference != that.reference:
        return (
            f"was measured against other real pictures ({this.reference.content[:12]}) than",
            "measure both against one reference",
        )
    if this.confidence != that.confidence:
        return f"has intervals of {this.confidence:.0%}, unlike", "measure both at one confidence"
    for name in this.metrics.keys() & that.metrics.keys():
        if problem := _metric_problem(name, this, that):
            return problem
    return None


def _metric_problem(name: str, this: Evaluation, that: Evaluation) -> tuple[str, str] | None:
    mine, theirs = this.metrics[name], that.metrics[name]
    named = {CLIP_SCORE: CLIP, LPIPS_DIVERSITY: LPIPS}
    features = named.get(name, name.rpartition("_")[2])
    extractors = [one.extractors.get(features) for one in (this, that)]
    if mine.features != theirs.features or extractors[0] != extractors[1]:
        return (
            f"has a {name} by other features than",
            (
                "measure both by the same weights (--reference may be an evaluation that kept its "
                "reference, classifier and all), or leave it out of metrics"
            ),
        )
    if moves_with_number(name) and mine.n != theirs.n:
        return (
            (
                f"has a {name} of {mine.n} pictures, which moves with their number: not the "
                f"{theirs.n} of"
            ),
            "draw as many, or measure figures that do not move with it, as kid_*",
        )
    if name in (CLIP_SCORE, LPIPS_DIVERSITY) and this.prompts != that.prompts:
        return f"has a {name} of other prompts than", "draw both by one list of prompts"
    return None
