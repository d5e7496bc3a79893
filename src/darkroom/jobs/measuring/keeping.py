"""Keeps the reference's features with an evaluation, for later ones to be measured against."""

from __future__ import annotations

from darkroom.jobs.artifacts.kept_reference import KEPT_FILE, KEPT_PREFIX, KeptReference
from darkroom.jobs.batch.committer import part_name
from darkroom.jobs.batch.job import BatchRun
from darkroom.jobs.batch.once import entry_of
from darkroom.jobs.measuring.comparison import PIXELS, SET, TEST, TRAIN
from darkroom.jobs.measuring.extractors import WEIGHTS_NAME, ClassifierExtractor
from darkroom.jobs.measuring.measurement import PIXELS_DIGEST, Measurement
from darkroom.jobs.parquet import parquet_bytes
from darkroom.storage import FileEntry


def keep_reference(measurement: Measurement, batch: BatchRun) -> list[FileEntry]:
    """Write what `KeptReference` tells of, a part at a time, once the batch has run."""
    files: list[FileEntry] = []
    counts = {TRAIN: 0, TEST: 0}
    for index, table in enumerate(measurement.reference_tables(batch)):
        name = part_name(KEPT_PREFIX.removesuffix("/"), index)
        data = parquet_bytes(table.combine_chunks())
        files.append(batch.writer.write_bytes(name, data, rows=len(table)))
        for split in counts:
            counts[split] += table[SET].to_pylist().count(split)
    reference, shape = measurement.reference, measurement.reference.making.shape
    networks = [one for one in measurement.networks if one is not measurement.lpips]
    digests = {column: one.model.digest for one in networks for column in one.columns}
    if measurement.is_classified:
        weights = entry_of(batch.writer, WEIGHTS_NAME).sha256
        digests |= dict.fromkeys(ClassifierExtractor.columns, weights)
    if PIXELS in measurement.columns:
        digests[PIXELS] = PIXELS_DIGEST
    kept = KeptReference(
        content=reference.content,
        num_train=counts[TRAIN],
        num_test=counts[TEST],
        image_size=(shape.height, shape.width),
        channels=shape.channels,
        classes=reference.classes,
        is_labelled=reference.is_labelled,
        captions_are_known=reference.captions_are_known,
        making=reference.making.to_dict(),
        digests=digests,
        extractors=measurement.extractor_facts(),
    )
    return [*files, batch.writer.write_bytes(KEPT_FILE, kept.to_json())]
