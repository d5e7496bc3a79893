"""One measurement from its inputs to its figures, on a batch that the caller opens.

    measurement = plan(config, Inputs(generated=..., reference=...), limit=..., seed=...)
    with open_batch(config, rows=measurement.rows, parents=measurement.parents, ...) as batch:
        evaluation = measurement.run(batch)

Planning (`planning.py`) finds everything that is the user's to mend. The run streams pictures
through the stages and commits their features piece by piece; the figures come from the committed
features, in order, so a run that was killed and begun again gives the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.jobs.artifacts.evaluation import (
    ClassifierFacts,
    Evaluation,
    ExtractorFacts,
    Metric,
    ReferenceFacts,
    SecondSet,
)
from darkroom.jobs.artifacts.kept_reference import kept_tables
from darkroom.jobs.batch.job import BatchRun
from darkroom.jobs.batch.once import entry_of
from darkroom.jobs.measuring.comparison import (
    LABEL,
    PIXELS,
    SET,
    TEST,
    TRAIN,
    Comparison,
    collected,
    feature_column,
)
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import (
    LOGITS,
    columns_of,
    measure,
    measure_differences,
)
from darkroom.jobs.measuring.extractors import WEIGHTS_NAME, ClassifierExtractor, Extractor
from darkroom.jobs.measuring.gate import check_measured, judge
from darkroom.jobs.measuring.measures import recognised
from darkroom.jobs.measuring.names import LPIPS
from darkroom.jobs.measuring.networks import NetworkExtractor
from darkroom.jobs.measuring.reference import Reference
from darkroom.jobs.measuring.source import ComparedPictures, are_paired
from darkroom.jobs.measuring.stages import Reading, schema_of, stages_of
from darkroom.jobs.rejects import Reject
from darkroom.storage import FileEntry, Parent

PIXELS_DIGEST = "pixels-0-1"
"""Grey levels as they are need no network."""

_log = logging.getLogger("darkroom.measuring")


@dataclass(frozen=True)
class Inputs:
    """Where the pictures are, by URI or path."""

    generated: str
    reference: str
    against: str | None = None

    @property
    def sets(self) -> Sequence[tuple[str, str]]:
        """Field and place of each set of pictures that is measured."""
        second = () if self.against is None else (("against", self.against),)
        return (("input", self.generated), *second)


@dataclass(frozen=True)
class Measurement:
    """What is to be measured, of which pictures."""

    settings: MeasuringConfig
    seed: int
    reading: Reading
    rows: pa.Table
    """Generated pictures, those of the second set, training and test pictures."""
    num_real: int
    """Of them those of the reference, which no stage rejects."""
    parents: tuple[Parent, ...]
    rejected: Sequence[Reject]
    """Files that the listing ruled out."""
    metrics: tuple[str, ...]
    skipped: dict[str, str]
    """Metrics that are left out, and why."""
    generated: ComparedPictures
    against: ComparedPictures | None
    reference: Reference
    networks: Sequence[NetworkExtractor]

    @property
    def columns(self) -> tuple[str, ...]:
        """All that is made of a picture, each column once."""
        compared = columns_of(self.metrics)
        made = [name for name in compared if name == PIXELS]
        if self.is_classified:
            made += ClassifierExtractor.columns
        return (*made, *(name for one in self.networks for name in one.columns))

    @property
    def is_classified(self) -> bool:
        """The reference classifier takes part."""
        return bool(set(ClassifierExtractor.columns) & set(columns_of(self.metrics)))

    @property
    def lpips(self) -> NetworkExtractor | None:
        """What compares pairs of pictures, if anything does."""
        return next((one for one in self.networks if one.name == LPIPS), None)

    @property
    def real_columns(self) -> tuple[str, ...]:
        """What can be kept of a real picture: a pair's distance is no property of one."""
        return tuple(column for column in self.columns if column != LPIPS)

    def run(self, batch: BatchRun) -> tuple[Evaluation, list[FileEntry]]:
        """The figures, and the files that they stand on.

        Errors: DataError for pictures that cannot be compared, and those of `BatchRun.run`.
        """
        is_kept = self.reference.kept is not None
        classifier = ClassifierExtractor(
            batch.writer, self.reading.reference, self.seed, is_kept=is_kept
        )
        extractors: list[Extractor] = [
            *([classifier] if self.is_classified else ()),
            *(one for one in self.networks if one.name != LPIPS),
        ]
        batch.run(
            stages_of(self.reading, extractors, self.settings, self.lpips),
            schema=schema_of(self.columns),
            description="evaluate",
            unit="pictures",
        )
        for reason, count in Counter(reject.reason for reject in batch.rejected).items():
            _log.warning("%d files of the input cannot be used: %s", count, reason)
        files = [entry_of(batch.writer, WEIGHTS_NAME)] if self.is_classified else []
        digests = {PIXELS: PIXELS_DIGEST}
        digests |= {column: file.sha256 for file in files for column in classifier.columns}
        digests |= {column: one.model.digest for one in self.networks for column in one.columns}
        with collected(
            self._tables(batch), self.columns, classes=self.reference.classes, digests=digests,
            shape=self.reference.making.shape,
            captions_are_known=self.reference.captions_are_known,
            is_paired=self._are_paired(batch),
        ) as comparison:  # fmt: skip
            evaluation = self._evaluation(comparison, batch.rejected)
        return evaluation, files

    def reference_tables(self, batch: BatchRun) -> Iterator[pa.Table]:
        """The reference's rows: set, label and `columns`; committed by this run, or kept."""
        columns = (SET, LABEL, *self.real_columns)
        if self.reference.artifact is not None:
            yield from kept_tables(self.reference.artifact, columns)
        else:
            for table in batch.tables():
                rows = table.filter(pc.is_in(table[SET], pa.array([TRAIN, TEST])))
                if len(rows):
                    yield rows.select(columns)

    def extractor_facts(self) -> dict[str, ExtractorFacts]:
        """The networks, by name."""
        return {one.name: one.facts(self.settings.extractors) for one in self.networks}

    def _tables(self, batch: BatchRun) -> Iterator[pa.Table]:
        yield from batch.tables()
        if self.reference.artifact is not None:
            for table in self.reference_tables(batch):
                yield self._without_pairs(table)

    def _without_pairs(self, kept: pa.Table) -> pa.Table:
        if self.lpips is None:
            return kept
        none = np.full((len(kept), 1), np.nan, np.float32)
        return kept.append_column(LPIPS, feature_column(none))

    def _are_paired(self, batch: BatchRun) -> bool:
        """Rows that a stage rejected have no like."""
        return (
            self.against is not None
            and len(batch.rejected) == len(self.rejected)
            and are_paired(self.generated, self.against)
        )

    def _evaluation(self, comparison: Comparison, rejected: Sequence[Reject]) -> Evaluation:
        train, test = comparison.train, comparison.test
        classifier = None
        if LOGITS in test.features:
            classifier = ClassifierFacts(
                digest=comparison.digests[LOGITS],
                test_accuracy=float(recognised(test, LOGITS).mean()),
                num_test=len(test), num_train=len(train),
            )  # fmt: skip
        metrics = measure(comparison, self.metrics, self.settings, seed=self.seed)
        second = self._second(comparison, metrics)
        check_measured(self.settings.gate, len(comparison.generated))
        return Evaluation(
            num_images=len(comparison.generated),
            content=self.generated.content,
            dead_letters=dict(sorted(Counter(reject.reason for reject in rejected).items())),
            confidence=self.settings.confidence,
            reference=ReferenceFacts(
                content=self.reference.content, num_train=len(train), num_test=len(test)
            ),
            classifier=classifier,
            metrics=metrics,
            skipped=self.skipped,
            verdicts=judge(self.settings.require, metrics, second.differences if second else None),
            extractors=self.extractor_facts(),
            drawn=self.generated.drawn,
            prompts=self.generated.prompts_digest,
            against=second,
        )

    def _second(self, comparison: Comparison, metrics: Mapping[str, Metric]) -> SecondSet | None:
        if self.against is None or comparison.against is None:
            return None
        others = measure(comparison.against, self.metrics, self.settings, seed=self.seed)
        return SecondSet(
            num_images=len(comparison.against.generated),
            content=self.against.content,
            is_paired=comparison.is_paired,
            metrics=others,
            differences=measure_differences(
                comparison, metrics, others, self.settings, seed=self.seed
            ),
            drawn=self.against.drawn,
            prompts=self.against.prompts_digest,
        )
