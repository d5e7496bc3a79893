"""`darkroom evaluate`: measures generated pictures against a prepared data set.

Runs in one process: the reference classifier and the statistics of some ten thousand small
pictures take seconds to minutes, less than starting a cluster. Pictures are decoded batch by
batch and held as uint8, so a split must fit in memory as such.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

from darkroom.errors import DataError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.measure import Measurement
from darkroom.jobs.evaluate.pictures import Generated, Reference, read_generated, read_reference
from darkroom.jobs.evaluate.table import markdown_table
from darkroom.jobs.progress import progress
from darkroom.jobs.rejects import write_dead_letters
from darkroom.report.plots import confusion_plot
from darkroom.storage import Artifact, open_output

logger = logging.getLogger(__name__)


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Measure and publish. Errors: those of storage, DataError for pictures that do not fit."""
    reference = read_reference(config.reference)
    generated = read_generated(config.input, reference, limit=config.limit, seed=config.seed)
    parents = [generated.parent, reference.artifact.as_parent("reference")]
    with open_output(
        config.output, kind=Kind.EVALUATION, config=config, parents=parents,
        on_existing=config.on_existing,
    ) as output:  # fmt: skip
        if output.completed is not None:
            return _result(output.completed)
        evaluation = evaluate(config, generated, reference)
        files = [
            output.writer.write_bytes("metrics.json", json.dumps(evaluation, indent=1).encode()),
            output.writer.write_bytes("metrics.md", markdown_table(evaluation).encode()),
        ]
        if accuracy := evaluation["metrics"].get("class_accuracy"):
            plot = confusion_plot(accuracy["confusion"], accuracy["classes"])
            files.append(output.writer.write_bytes("confusion.svg", plot.svg.encode()))
        files += write_dead_letters(generated.rejects, output.writer)
        return _result(output.publish(files, metadata=key_figures(evaluation)))


def evaluate(config: EvaluateConfig, generated: Generated, reference: Reference) -> dict[str, Any]:
    """Everything that `metrics.json` holds. Errors: DataError when nothing can be measured."""
    measurement = Measurement(config, generated.pictures, reference)
    reasons = {metric: measurement.missing(metric) for metric in config.metrics}
    skipped = {metric: reason for metric, reason in reasons.items() if reason}
    wanted = [metric for metric in config.metrics if metric not in skipped]
    for metric, reason in skipped.items():
        logger.warning("%s is left out: %s", metric, reason)
    reasons_of_files = Counter(reject.reason for reject in generated.rejects)
    for reason, count in reasons_of_files.items():
        logger.warning("%d files of the input cannot be used: %s", count, reason)
    if not wanted:
        raise DataError("metrics", list(config.metrics), f"none can be computed: {skipped}")
    metrics = {}
    with progress(len(wanted), "evaluate", "metrics") as bar:
        for metric in wanted:
            metrics[metric] = measurement.measure(metric)
            bar.advance(1)
    return {
        "num_images": len(generated.pictures),
        "num_dead_letters": len(generated.rejects),
        "dead_letters": dict(sorted(reasons_of_files.items())),
        "confidence": config.confidence,
        "input": {"uri": generated.parent.uri, "digest": generated.parent.digest},
        "reference": {
            "uri": str(reference.artifact.uri),
            "digest": reference.artifact.digest,
            "num_train": len(reference.train),
            "num_test": len(reference.test),
        },
        "classifier": measurement.classifier_facts,
        "metrics": metrics,
        "skipped": skipped,
    }


def key_figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that a run ends by printing."""
    shown = ("num_images", "num_dead_letters", "dead_letters")
    figures: dict[str, Any] = {name: evaluation[name] for name in shown}
    for name, metric in evaluation["metrics"].items():
        figures[name] = {
            "value": round(metric["value"], 4),
            "interval": [round(metric["lower"], 4), round(metric["upper"], 4)],
            "real": round(metric["floor"]["value"], 4),
        }
        for extra in ("ratio", "biased", "near_chance", "memorising"):
            if metric.get(extra) is not None:
                value = metric[extra]
                figures[name][extra] = round(value, 3) if isinstance(value, float) else value
    if evaluation["classifier"]:
        figures["classifier"] = {
            "digest": evaluation["classifier"]["digest"],
            "test_accuracy": round(evaluation["classifier"]["test_accuracy"], 4),
        }
    if evaluation["skipped"]:
        figures["skipped"] = evaluation["skipped"]
    return figures


def _result(artifact: Artifact) -> dict[str, Any]:
    return {
        **names_of(artifact),
        **artifact.manifest.metadata,
    }
