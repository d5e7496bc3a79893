"""One measurement from its two inputs to its figures, on a batch that the caller opens.

    measurement = plan(config, uri, reference=..., limit=..., seed=...)
    with open_batch(config, rows=measurement.rows, parents=measurement.parents, ...) as batch:
        evaluation = measurement.run(batch)

Planning finds everything that is the user's to mend: it reads listings and labels, and decodes
the first picture. The run streams pictures through the stages and commits their features piece by
piece; the figures come from the committed features, in order, so a run that was killed and begun
again gives the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.config import json_digest
from darkroom.errors import DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.evaluation import (
    ClassifierFacts,
    DrawnFacts,
    Evaluation,
    ExtractorFacts,
    ReferenceFacts,
)
from darkroom.jobs.batch.job import BatchRun
from darkroom.jobs.batch.once import entry_of
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.measuring.comparison import (
    LABEL,
    PIXELS,
    PROMPT,
    SET,
    Comparison,
    collected,
)
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import LOGITS, Facts, choose, columns_of, measure
from darkroom.jobs.measuring.extractors import WEIGHTS_NAME, ClassifierExtractor, Extractor
from darkroom.jobs.measuring.gate import check_gate, check_measured, judge
from darkroom.jobs.measuring.measures import predictions
from darkroom.jobs.measuring.names import NETWORKS
from darkroom.jobs.measuring.networks import RESIZES, NetworkExtractor, find_networks
from darkroom.jobs.measuring.source import (
    ComparedPictures,
    find_generated,
    open_reference,
    reference_rows,
)
from darkroom.jobs.measuring.stages import (
    Making,
    PictureRead,
    PixelDecode,
    Reading,
    schema_of,
    stages_of,
)
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.storage import FileEntry, Parent

_LOOKED_AT = 64
"""Pictures that are looked at together for one that can be used."""

_log = logging.getLogger("darkroom.measuring")


@dataclass(frozen=True)
class Measurement:
    """What is to be measured, of which pictures."""

    settings: MeasuringConfig
    seed: int
    reading: Reading
    rows: pa.Table
    """Generated, training and test pictures."""
    num_real: int
    """Of them those of the reference, which no stage rejects."""
    parents: tuple[Parent, ...]
    rejected: Sequence[Reject]
    """Files that the listing ruled out."""
    metrics: tuple[str, ...]
    skipped: dict[str, str]
    """Metrics that are left out, and why."""
    classes: tuple[str, ...]
    content: str
    """Content digests of the generated pictures and of the reference."""
    reference_content: str
    networks: Sequence[NetworkExtractor]
    captions_are_known: bool
    """Of every test picture."""
    prompts_digest: str | None
    """Of the prompts of the generated pictures; None when any has none."""
    drawn: DrawnFacts | None

    def run(self, batch: BatchRun) -> tuple[Evaluation, list[FileEntry]]:
        """The figures, and the files that they stand on.

        Errors: DataError for pictures that cannot be compared, and those of `BatchRun.run`.
        """
        columns = columns_of(self.metrics)
        classifier = ClassifierExtractor(batch.writer, self.reading.reference, self.seed)
        is_classified = bool(set(classifier.columns) & set(columns))
        extractors: list[Extractor] = [*([classifier] if is_classified else ()), *self.networks]
        made = [name for name in columns if name == PIXELS]
        made += [name for one in extractors for name in one.columns]
        batch.run(
            stages_of(self.reading, extractors, self.settings),
            schema=schema_of(made),
            description="evaluate",
            unit="pictures",
        )
        for reason, count in Counter(reject.reason for reject in batch.rejected).items():
            _log.warning("%d files of the input cannot be used: %s", count, reason)
        files = [entry_of(batch.writer, WEIGHTS_NAME)] if is_classified else []
        digests = {PIXELS: "pixels-0-1"}
        digests |= {column: file.sha256 for file in files for column in classifier.columns}
        digests |= {column: one.model.digest for one in self.networks for column in one.columns}
        with collected(
            batch.tables(), made, classes=self.classes, digests=digests,
            captions_are_known=self.captions_are_known,
        ) as comparison:  # fmt: skip
            evaluation = self._evaluation(comparison, batch.rejected)
        return evaluation, files

    def _extractor_facts(self) -> dict[str, ExtractorFacts]:
        return {
            one.name: ExtractorFacts(
                digest=one.model.digest,
                resize=RESIZES[one.name],
                precision="float32"
                if one.name == "inception"
                else self.settings.extractors.precision,
            )
            for one in self.networks
        }

    def _evaluation(self, comparison: Comparison, rejected: Sequence[Reject]) -> Evaluation:
        train, test = comparison.train, comparison.test
        classifier = None
        if LOGITS in test.features:
            right = predictions(test, LOGITS) == test.labels
            classifier = ClassifierFacts(
                digest=comparison.digests[LOGITS], test_accuracy=float(right.mean()),
                num_test=len(test), num_train=len(train),
            )  # fmt: skip
        metrics = measure(comparison, self.metrics, self.settings, seed=self.seed)
        check_measured(self.settings.gate, len(comparison.generated))
        return Evaluation(
            num_images=len(comparison.generated),
            content=self.content,
            dead_letters=dict(sorted(Counter(reject.reason for reject in rejected).items())),
            confidence=self.settings.confidence,
            reference=ReferenceFacts(
                content=self.reference_content, num_train=len(train), num_test=len(test)
            ),
            classifier=classifier,
            metrics=metrics,
            skipped=self.skipped,
            verdicts=judge(self.settings.require, metrics),
            extractors=self._extractor_facts(),
            drawn=self.drawn,
            prompts=self.prompts_digest,
        )


def plan(
    settings: MeasuringConfig, generated: str, *, reference: str, limit: int | None, seed: int
) -> Measurement:
    """Look at both inputs; nothing is written.

    Errors: DataError for pictures or metrics that do not fit, those of storage.
    """
    dataset = open_reference(reference)
    pictures = find_generated(generated, dataset.info.classes, limit=limit, seed=seed)
    real = reference_rows(dataset)
    facts = _facts(pictures, real, dataset, settings)
    metrics, skipped = choose(settings.wanted, facts)
    content = dataset.artifact.content_digest
    check_gate(
        settings.require, settings.gate, metrics=metrics, skipped=skipped,
        num_images=len(pictures.rows), reference=content,
    )  # fmt: skip
    networks = find_networks(settings, columns_of(metrics))
    reading = Reading(pictures.source, PictureOrigin.of(dataset.artifact), Making.of(dataset))
    _check_first(pictures, reading)
    return Measurement(
        settings,
        seed,
        reading,
        rows=pa.concat_tables([pictures.rows, real]).combine_chunks(),
        num_real=len(real),
        parents=(
            pictures.parent,
            dataset.artifact.as_parent("reference"),
            *(network.model.as_parent(network.name) for network in networks),
        ),
        rejected=pictures.rejected,
        metrics=metrics,
        skipped=skipped,
        classes=dataset.info.classes,
        content=pictures.content,
        reference_content=content,
        networks=networks,
        captions_are_known=not pc.filter(real[PROMPT], pc.equal(real[SET], "test")).null_count,
        prompts_digest=json_digest(pictures.rows[PROMPT].to_pylist())
        if facts.prompts_are_known
        else None,
        drawn=pictures.drawn,
    )


def _facts(
    generated: ComparedPictures, real: pa.Table, dataset: Dataset, settings: MeasuringConfig
) -> Facts:
    return Facts(
        dataset.shape(field="reference"),
        num_classes=len(dataset.info.classes),
        reference_is_labelled=not real[LABEL].null_count,
        classes_are_asked=not generated.rows[LABEL].null_count,
        prompts_are_known=not generated.rows[PROMPT].null_count,
        networks=frozenset(
            name for name in NETWORKS if getattr(settings.networks, name) is not None
        ),
    )


def _check_first(generated: ComparedPictures, reading: Reading) -> None:
    """Decode a picture, so that what is wrong with all of them is said before anything is written.

    Errors: DataError when none can be used, or the first has another size than the reference's.
    """
    read, decode = PictureRead(reading, _LOOKED_AT), PixelDecode(reading)
    rejects = Rejects("decode")
    rejects.found += generated.rejected
    for start in range(0, len(generated.rows), _LOOKED_AT):
        rows = read(generated.rows.slice(start, _LOOKED_AT), rejects)
        for at in range(len(rows)):
            if len(decode(rows.slice(at, 1), rejects)):
                return
    last = rejects.found[-1]
    others = f" and {len(rejects.found) - 1} others" if len(rejects.found) > 1 else ""
    raise DataError(
        "input", reading.generated.uri,
        f"{last.id}{others} cannot be read ({last.reason}: {last.detail})",
        "give JPEG, PNG or WebP files",
    )  # fmt: skip
