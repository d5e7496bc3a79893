"""Finds what a report is about and checks that its parts belong together.

A page that shows one model's curves beside another model's pictures would mislead, so every
part must name the model (or the samples) it was made from by digest.
"""

from __future__ import annotations

from dataclasses import dataclass

from darkroom.errors import ConfigError, DataError, StorageError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.artifacts.model import TrainedModel
from darkroom.jobs.artifacts.samples import Samples
from darkroom.jobs.report.config import ReportConfig
from darkroom.storage import Artifact, Parent, open_artifact


@dataclass(frozen=True)
class Sources:
    """The published outputs behind one page."""

    model: TrainedModel
    data: Dataset | None
    """None when the data is gone; the page then shows no real pictures."""
    samples: Samples | None
    evaluation: Artifact | None

    def artifacts(self) -> dict[str, Artifact]:
        """By role, those that are there."""
        found = {"model": self.model.artifact}
        if self.data is not None:
            found["data"] = self.data.artifact
        if self.samples is not None:
            found["samples"] = self.samples.artifact
        if self.evaluation is not None:
            found["evaluation"] = self.evaluation
        return found

    def parents(self) -> list[Parent]:
        """What the report was made from."""
        return [artifact.as_parent(role) for role, artifact in self.artifacts().items()]


def find_sources(config: ReportConfig) -> Sources:
    """Open everything that the config names or that its parts name as parents.

    Errors: DataError when a part was made from something else than the part beside it.
    """
    model = open_artifact(config.input, kind=Kind.MODEL)
    evaluation = _open(config.evaluation, Kind.EVALUATION)
    samples = _open(config.samples, Kind.SAMPLES)
    if samples is not None:
        _check_parent("samples", samples, "model", model)
    if evaluation is not None and samples is not None:
        _check_parent("evaluation", evaluation, "samples", samples)
    elif evaluation is not None:
        _check_drawn(evaluation, model)
    data = _find_data(config, model)
    return Sources(
        TrainedModel.of(model),
        None if data is None else Dataset.of(data, field="data"),
        None if samples is None else Samples.of(samples, field="samples"),
        evaluation,
    )


def check_parts(config: ReportConfig, what: str) -> None:
    """Refuse what belongs to a report about a model of `train`. Errors: ConfigError."""
    for name in ("data", "samples", "evaluation"):
        if (value := getattr(config, name)) is not None:
            raise ConfigError(name, value, f"does not belong to {what}", "leave it out")


def _open(uri: str | None, kind: Kind) -> Artifact | None:
    return None if uri is None else open_artifact(uri, kind=kind)


def _find_data(config: ReportConfig, model: Artifact) -> Artifact | None:
    parent = _parent(model, "data")
    if config.data is not None:
        data = open_artifact(config.data, kind=Kind.DATASET)
        if parent is not None:
            _check_parent("input", model, "data", data)
        return data
    if parent is None:
        return None
    try:
        data = open_artifact(parent.uri, kind=Kind.DATASET)
    except StorageError:
        return None
    # Prepared anew since: not what the model saw.
    return data if data.digest == parent.digest else None


def _check_parent(field: str, child: Artifact, role: str, expected: Artifact) -> None:
    parent = _parent(child, role)
    if parent is None or parent.digest != expected.digest:
        found = "nothing" if parent is None else f"{parent.uri} ({parent.digest[:12]})"
        raise DataError(
            field, str(child.uri),
            f"was made from {found}, not from {expected.uri} ({expected.digest[:12]})",
            "give parts of one run",
        )  # fmt: skip


def _check_drawn(evaluation: Artifact, model: Artifact) -> None:
    """Of pictures that are another model's; of files of a folder nobody knows whose they are."""
    drawn = Evaluation.of(evaluation, field="evaluation").drawn
    if drawn is not None and drawn.model not in (model.content_digest, model.digest):
        raise DataError(
            "evaluation", str(evaluation.uri),
            f"is of pictures that another model drew ({drawn.model[:12]}), not {model.uri} "
            f"({model.content_digest[:12]})",
            "give parts of one run",
        )  # fmt: skip


def _parent(artifact: Artifact, role: str) -> Parent | None:
    return next((item for item in artifact.manifest.parents if item.role == role), None)
