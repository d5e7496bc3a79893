"""The stages of a measurement: read, decode, then one per extractor. One piece's table in, one out.

    rows -> read: encoded bytes -> decode: pixels -> classifier: features and logits -> ...

Published pictures are decoded as every verb does it, files of a folder as `prepare` would have
stored them: so a folder scores the same as what `prepare` makes of it. Every picture must have
the reference's size: resizing here would change the distances without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.config import build_config
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.drawing.stage import model_stage
from darkroom.jobs.measuring.comparison import (
    GENERATED,
    LABEL,
    PIXELS,
    PROMPT,
    SET,
    column_bytes,
    feature_column,
)
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.extractors import Extract, Extractor
from darkroom.jobs.pictures.config import EncodingConfig, LimitsConfig
from darkroom.jobs.pictures.decode import Picture, decode, keep_memory, published_pixels
from darkroom.jobs.pictures.encode import stored_bytes
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.rejects import Reject, Rejects

NUM_READERS = 2
KEPT = (ID, SET, LABEL, PROMPT)
"""Columns that travel from the rows to the extractors."""


@dataclass(frozen=True)
class Making:
    """How `prepare` made the reference, for files that are to be taken as it would."""

    shape: ImageShape
    background: int
    animated: Literal["reject", "first_frame"]
    limits: LimitsConfig
    encoding: EncodingConfig

    @classmethod
    def of(cls, reference: Dataset) -> Making:
        """As the reference's own config says it."""
        config = reference.artifact.manifest.config
        given = LimitsConfig().to_dict() | config.get("limits", {})
        return cls(
            reference.shape(field="reference"),
            background=config.get("background", 255),
            animated=config.get("animated", "reject"),
            # min_side is about pictures before they are resized.
            limits=build_config(LimitsConfig, given | {"min_side": 1}),
            encoding=build_config(EncodingConfig, config.get("encoding", {})),
        )


@dataclass(frozen=True)
class Reading:
    """Where the pictures are; what the first two stages carry to their workers."""

    generated: PictureOrigin
    reference: PictureOrigin
    making: Making

    def where(self, set_name: str, row_id: str) -> tuple[str, str]:
        """The config's field and the place that an error names."""
        if set_name == GENERATED:
            return "input", f"{self.generated.uri}/{row_id}"
        return "reference", f"{self.reference.uri}: row {row_id.rpartition(':')[2]}"


def stages_of(
    reading: Reading, extractors: Sequence[Extractor], config: MeasuringConfig
) -> list[Stage]:
    """All stages, for `BatchRun.run`; what they end with has the columns of `schema_of`."""
    workers, shape = config.extractors, reading.making.shape
    return [
        Stage(
            name="read",
            make=partial(PictureRead, reading, config.read_concurrency),
            num_workers=NUM_READERS,
            num_cpus=0.5,  # it mostly waits for the store
        ),
        Stage(name="decode", make=partial(PixelDecode, reading), num_workers=None),
        *(
            model_stage(extractor.name, workers, partial(FeatureStage, extractor, shape, workers))
            for extractor in extractors
        ),
    ]


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """What the committed parts hold: what a later stage does not need is left behind."""
    known = [(ID, pa.string()), (SET, pa.string()), (LABEL, pa.int64())]
    return pa.schema(known + [(column, pa.large_binary()) for column in columns])


class PictureRead:
    """Rows to rows with their encoded bytes."""

    def __init__(self, reading: Reading, concurrency: int) -> None:
        self._reading, self._concurrency = reading, concurrency

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        reading = self._reading
        is_generated = pc.equal(rows[SET], GENERATED)
        encoded: list[bytes | None] = []
        # Generated rows come before the others.
        for source, part in (
            (reading.generated, rows.filter(is_generated)),
            (reading.reference, rows.filter(pc.invert(is_generated))),
        ):
            encoded += source.read(
                part, rejects, max_bytes=reading.making.limits.max_bytes,
                concurrency=self._concurrency,
            )  # fmt: skip
        kept = rows.select(KEPT).append_column("encoded", pa.array(encoded, pa.large_binary()))
        return kept.filter(pc.is_valid(kept["encoded"]))


class PixelDecode:
    """Encoded bytes to pixels; files of a folder that cannot be used are rejected."""

    def __init__(self, reading: Reading) -> None:
        keep_memory()
        self._reading, self._making = reading, reading.making

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        pixels = np.empty((len(rows), self._making.shape.num_bytes), np.uint8)
        there: list[int] = []
        for at, row in enumerate(rows.to_pylist()):
            field, where = self._reading.where(row[SET], row[ID])
            is_file = row[SET] == GENERATED and self._reading.generated.digest is None
            data = self._as_stored(row["encoded"], row[ID]) if is_file else row["encoded"]
            if isinstance(data, Reject):
                rejects.found.append(data)
                continue
            image = published_pixels(data, where=where, shape=self._making.shape, field=field)
            pixels[len(there)] = image.reshape(-1)
            there.append(at)
        kept = rows.select(KEPT).take(pa.array(there, pa.int64()))
        return kept.append_column(PIXELS, feature_column(pixels[: len(there)]))

    def _as_stored(self, data: bytes, row_id: str) -> bytes | Reject:
        """A file as `prepare` would have stored it: one that it converts loses what JPEG loses."""
        making = self._making
        picture = decode(
            data, channels=1 if making.shape.channels == 1 else 3, background=making.background,
            animated=making.animated, limits=making.limits, row_id=row_id,
        )  # fmt: skip
        if isinstance(picture, Picture):
            return stored_bytes(picture, data, making.encoding)
        return picture


class FeatureStage:
    """One extractor in its actor: adds its columns to the rows."""

    def __init__(self, extractor: Extractor, shape: ImageShape, workers: WorkerConfig) -> None:
        self._extractor, self._shape, self._workers = extractor, shape, workers

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        images = column_bytes(rows[PIXELS]).reshape(len(rows), *self._shape.chw)
        features = self._extract(images, rows[PROMPT].to_pylist())
        for column in self._extractor.columns:
            rows = rows.append_column(column, feature_column(features[column]))
        return rows

    @cached_property
    def _extract(self) -> Extract:
        """Loaded with the first piece: its time then counts as the stage's."""
        return self._extractor.load(self._workers)
