"""`darkroom evaluate`: measures generated pictures against real ones.

What measures is `jobs/measuring`, what streams, commits and resumes is `jobs/batch`; here the two
meet, and the figures are published as JSON, as a table and as a plot. The features stay behind:
they are committed with the run and removed when its figures are published.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.evaluation import METRICS_FILE, EvaluationInfo, Metric, SecondSet
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.drawn import drawn_inputs
from darkroom.jobs.measuring.gate import check_met
from darkroom.jobs.measuring.keeping import keep_reference
from darkroom.jobs.measuring.measurement import Measurement
from darkroom.jobs.measuring.planning import plan
from darkroom.jobs.measuring.words import markdown_table
from darkroom.pages.plots import confusion_plot
from darkroom.storage import Artifact


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Measure and publish.

    Errors: those of storage, DataError for pictures that do not fit; GateError, when all is
    published, for figures that are not as required.
    """
    inputs, foresight = drawn_inputs(config)
    measurement = plan(config, inputs, limit=config.limit, seed=config.seed, foresight=foresight)
    with open_batch(
        config,
        kind=Kind.EVALUATION,
        rows=measurement.rows,
        parents=measurement.parents,
        rejected=measurement.rejected,
        num_sure=measurement.num_real,
    ) as batch:
        artifact = batch.completed or _publish(config, batch, measurement)
        check_met(EvaluationInfo.of(artifact).verdicts, str(artifact.uri))
        return _result(artifact)


def _publish(config: EvaluateConfig, batch: BatchRun, measurement: Measurement) -> Artifact:
    evaluation, files = measurement.run(batch)
    write = batch.writer.write_bytes
    files += [
        write(METRICS_FILE, evaluation.to_json()),
        write("metrics.md", markdown_table(evaluation).encode()),
    ]
    if accuracy := evaluation.metrics.get("class_accuracy"):
        plot = confusion_plot(accuracy.confusion, accuracy.classes)
        files.append(write("confusion.svg", plot.svg.encode()))
    if config.keep_reference:
        files += keep_reference(measurement, batch)
    info = partial(
        EvaluationInfo,
        num_images=evaluation.num_images,
        reference=evaluation.reference.content,
        metrics={
            name: _shown(metric) | _beside(evaluation.against, name)
            for name, metric in evaluation.metrics.items()
        },
        classifier=evaluation.classifier,
        skipped=evaluation.skipped,
        verdicts=evaluation.verdicts,
    )
    return batch.publish(files, info=info, keeps_parts=False)


def _shown(metric: Metric) -> dict[str, Any]:
    """The few numbers of a figure that a run ends by printing."""
    values: dict[str, Any] = {
        "value": round(metric.value, 4),
        "interval": [end if end is None else round(end, 4) for end in (metric.lower, metric.upper)],
        "real": None if metric.floor is None else round(metric.floor.value, 4),
    }
    for name in ("ratio", "biased", "near_chance", "memorising"):
        value = getattr(metric, name)
        if value is not None:
            values[name] = round(value, 3) if isinstance(value, float) else value
    return values


def _beside(second: SecondSet | None, name: str) -> dict[str, Any]:
    """The second set's figure, and how far this one is from it."""
    if second is None:
        return {}
    difference = second.differences[name]
    ends = (difference.value, difference.lower, difference.upper)
    return {
        "against": round(second.metrics[name].value, 4),
        "difference": [end if end is None else round(end, 4) for end in ends],
    }


def _result(artifact: Artifact) -> dict[str, Any]:
    info = EvaluationInfo.of(artifact)
    result: dict[str, Any] = {
        **names_of(artifact),
        "num_images": info.num_images,
        "num_rejected": info.num_rejected,
        "rejected": info.rejected,
        **info.metrics,
    }
    if info.classifier is not None:
        result["classifier"] = {
            "digest": info.classifier.digest,
            "test_accuracy": round(info.classifier.test_accuracy, 4),
        }
    if info.skipped:
        result["skipped"] = info.skipped
    if info.verdicts:
        result["met"] = [verdict.requirement for verdict in info.verdicts]
    return result | {"figures": info.figures}
