"""`darkroom classify`: labels for pictures, as a streaming pipeline with exactly-once output.

Assumes a classifier of torchvision or timm. What commits, resumes and publishes is
`jobs/batch`; what is here is listing, the stages' parameters, and the score.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.apart import check_apart
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.predictions import Accuracy, ClassifierName, PredictionsInfo
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.model import OUTPUT_SCHEMA, modelling
from darkroom.jobs.classify.page import render_predictions
from darkroom.jobs.classify.score import Score, map_classes
from darkroom.jobs.classify.source import Pictures, find_pictures, ids_on_page
from darkroom.jobs.classify.stages import reading_and_decoding
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.text_file import text_of
from darkroom.models.classifier import Classifier, describe_classifier, with_labels
from darkroom.models.weights import RANDOM, Weights, find_weights
from darkroom.storage import Artifact, FileEntry, Parent, open_store, parse_uri
from darkroom.storage.artifact import digest_of

CONFUSION_NAME = "confusion.parquet"
PAGE_NAME = "predictions.html"

_log = logging.getLogger("darkroom.classify")


def run(config: ClassifyConfig) -> dict[str, Any]:
    """Classify and publish; returns what `--json` prints.

    Errors: those of storage, ConfigError for the model and the cluster, DataError for the input.
    """
    check_apart(config.output, config.input, field="input")
    classifier, label_parents = _classifier(config)
    pictures = find_pictures(config)
    meanings = map_classes(pictures.classes, classifier, config.class_map)
    weights = find_weights(classifier, config.model.weights, seed=config.seed)
    if weights.source == RANDOM:
        _log.warning("the weights are random: predictions say nothing about the pictures")
    model = Parent("model", _model_uri(config), weights.digest, "classifier")
    with open_batch(
        config,
        kind=Kind.PREDICTIONS,
        rows=pictures.rows,
        parents=[pictures.parent, model, *label_parents],
        rejected=pictures.rejected,
    ) as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        stages = [
            *reading_and_decoding(config, pictures.origin, classifier.preprocess),
            modelling(config, classifier, weights),
        ]
        batch.run(stages, schema=OUTPUT_SCHEMA, description="classify", unit="pictures")
        artifact = _publish(
            batch,
            config,
            classifier=classifier,
            weights=weights,
            pictures=pictures,
            score=Score(meanings),
        )
        return _result(artifact)


def _classifier(config: ClassifyConfig) -> tuple[Classifier, list[Parent]]:
    """The classifier, and the file that its labels are from, if any."""
    classifier = describe_classifier(config.model.library, config.model.name)
    if config.model.labels is None:
        return classifier, []
    uri = parse_uri(config.model.labels, field="model.labels")
    store = open_store(uri.parent)
    try:
        data = store.get(uri.name)
    except ObjectNotFoundError:
        raise DataError(
            "model.labels", str(uri), "is no file", "name one with one label per line"
        ) from None
    # Not splitlines: a label may hold what else Unicode calls the end of a line.
    lines = re.split(r"\r\n|\r|\n", text_of(data, where=str(uri), field="model.labels"))
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise DataError(
            "model.labels", str(uri), "has fewer than 2 labels, or one of them twice",
            "give one label per line, in the order of the model's outputs",
        )  # fmt: skip
    parent = Parent("labels", str(uri), digest_of(store, uri.name)[1], "file")
    return with_labels(classifier, labels), [parent]


def _model_uri(config: ClassifyConfig) -> str:
    return f"{config.model.library}:{config.model.name}:{config.model.weights}"


def _publish(
    batch: BatchRun,
    config: ClassifyConfig,
    *,
    classifier: Classifier,
    weights: Weights,
    pictures: Pictures,
    score: Score,
) -> Artifact:
    shown: list[pa.Table] = []
    seen: set[str] = set()
    on_page = ids_on_page(pictures, config)
    for table in batch.tables():
        score.add(table)
        seen |= set(table["expected"].unique().to_pylist())
        if on_page is not None:
            shown.append(table.filter(pc.is_in(table[ID], on_page)))
    # A class of which no picture could be used is none.
    classes = [name for name in pictures.classes if name in seen]
    if empty := [name for name in pictures.classes if name not in seen]:
        _log.warning("%d classes without a usable picture: %s", len(empty), ", ".join(empty[:5]))
    accuracy = score.accuracy(pictures.classes, top_k=config.top_k)
    files = []
    if score.num_scored:
        table = score.table()
        files.append(
            batch.writer.write_bytes(CONFUSION_NAME, parquet_bytes(table), rows=len(table))
        )
    if shown:
        predictions = pa.concat_tables(shown)
        files.append(
            _page(
                batch,
                config,
                pictures=pictures,
                predictions=predictions,
                accuracy=accuracy,
                confusion=score.table(),
            )
        )
    return batch.publish(
        files,
        info=partial(
            PredictionsInfo,
            model=ClassifierName(
                library=classifier.library,
                name=classifier.name,
                weights=weights.source,
                digest=weights.digest,
                num_labels=len(classifier.labels),
            ),
            input=config.input,
            classes=tuple(classes),
            num_skipped=dict(pictures.num_skipped or {}),
            score=accuracy,
        ),
    )


def _page(
    batch: BatchRun,
    config: ClassifyConfig,
    *,
    pictures: Pictures,
    predictions: pa.Table,
    accuracy: Accuracy | None,
    confusion: pa.Table,
) -> FileEntry:
    wanted = pc.is_in(pictures.rows[ID], predictions[ID].combine_chunks())
    html = render_predictions(
        config,
        origin=pictures.origin,
        rows=pictures.rows.filter(wanted),
        predictions=predictions,
        rejected=batch.rejected,
        accuracy=accuracy,
        confusion=confusion,
    )
    # Its title names where the input is.
    return batch.writer.write_bytes(PAGE_NAME, html.encode(), content=False)


def _result(artifact: Artifact) -> dict[str, Any]:
    info = PredictionsInfo.of(artifact)
    shown = plain_values(info)
    page = [entry for entry in artifact.manifest.files if entry.name == PAGE_NAME]
    return {
        **names_of(artifact),
        **{name: shown[name] for name in ("num_rows", "num_rejected", "rejected")},
        **(shown["score"] or {}),
        "model": shown["model"],
        "figures": shown["figures"],
        **({"page": str(artifact.uri / page[0].key)} if page else {}),
    }
