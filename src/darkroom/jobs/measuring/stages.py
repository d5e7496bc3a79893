"""The stages of a measurement: read, decode, then one per extractor. One piece's table in, one out.

    rows -> read: encoded bytes -> decode: pixels -> classifier: features and logits -> ...

Where LPIPS is asked for, a row brings the picture that it is paired with along, as far as the
distance of the two.

Published pictures are decoded as every verb does it, files of a folder as `prepare` would have
stored them: so a folder scores the same as what `prepare` makes of it. Every picture must have
the reference's size: resizing here would change the distances without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.drawing.stage import model_stage
from darkroom.jobs.measuring.comparison import (
    AGAINST,
    GENERATED,
    LABEL,
    LPIPS,
    PIXELS,
    PROMPT,
    SET,
    SETS,
    column_bytes,
    feature_column,
)
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.extractors import Extract, Extractor
from darkroom.jobs.measuring.lpips import PARTNER_PIXELS, PairStage
from darkroom.jobs.measuring.networks import NetworkExtractor
from darkroom.jobs.measuring.pairs import PARTNER
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
    def of(cls, shape: ImageShape, config: Mapping[str, Any]) -> Making:
        """As the config of `prepare` says it; what that leaves out is the default."""
        given = LimitsConfig().to_dict() | config.get("limits", {})
        return cls(
            shape,
            background=config.get("background", 255),
            animated=config.get("animated", "reject"),
            # min_side is about pictures before they are resized.
            limits=build_config(LimitsConfig, given | {"min_side": 1}),
            encoding=build_config(EncodingConfig, config.get("encoding", {})),
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings that `of` takes."""
        return {
            "background": self.background,
            "animated": self.animated,
            "limits": self.limits.to_dict(),
            "encoding": self.encoding.to_dict(),
        }


@dataclass(frozen=True)
class Reading:
    """Where the pictures are; what the first two stages carry to their workers."""

    generated: PictureOrigin
    reference: PictureOrigin
    making: Making
    against: PictureOrigin | None = None
    """The second set of drawn pictures."""

    def origin(self, set_name: str) -> tuple[str, PictureOrigin]:
        """The config's field that names where a set's pictures are, and that place."""
        if set_name == AGAINST and self.against is not None:
            return "against", self.against
        if set_name == GENERATED:
            return "input", self.generated
        return "reference", self.reference

    def where(self, set_name: str, row_id: str) -> tuple[str, str]:
        """The config's field and the place that an error names."""
        field, origin = self.origin(set_name)
        name = row_id if field == "input" else row_id.removeprefix(f"{field}:")
        if field == "reference":
            name = name.partition(":")[2]
        is_row = field == "reference" and origin.digest is not None
        return field, f"{origin.uri}: row {name}" if is_row else f"{origin.uri}/{name}"


def stages_of(
    reading: Reading,
    extractors: Sequence[Extractor],
    config: MeasuringConfig,
    lpips: NetworkExtractor | None = None,
) -> list[Stage]:
    """All stages, for `BatchRun.run`; what they end with has the columns of `schema_of`.

    lpips: compares pairs of pictures, before the others.
    """
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
            [model_stage(LPIPS, workers, partial(PairStage, lpips, shape, workers))]
            if lpips is not None
            else []
        ),
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
        encoded: list[bytes | None] = []
        for name in SETS:  # in the order of the rows
            part = rows.filter(pc.equal(rows[SET], name))
            if not len(part):
                continue
            field, origin = reading.origin(name)
            num_rejected = len(rejects.found)
            encoded += origin.read(
                part, rejects, max_bytes=reading.making.limits.max_bytes,
                concurrency=self._concurrency, field=field,
            )  # fmt: skip
            if field == "reference" and rejects.found[num_rejected:]:
                raise _unusable(reading.where(name, rejects.found[-1].id), rejects.found[-1])
        kept = rows.select(KEPT).append_column("encoded", pa.array(encoded, pa.large_binary()))
        if PARTNER in rows.column_names:
            partners = pa.array(self._partners(rows), pa.large_binary())
            kept = kept.append_column(PARTNER, partners)
        return kept.filter(pc.is_valid(kept["encoded"]))

    def _partners(self, rows: pa.Table) -> list[bytes | None]:
        """Encoded bytes of each row's partner. One that cannot be read is its own row's to say."""
        found: list[bytes | None] = [None] * len(rows)
        for name in SETS:
            at = np.flatnonzero(pc.and_(pc.equal(rows[SET], name), pc.is_valid(rows[PARTNER])))
            if len(at):
                field, origin = self._reading.origin(name)
                read = origin.read(
                    pa.Table.from_struct_array(rows[PARTNER].take(pa.array(at))),
                    Rejects("read"),
                    max_bytes=self._reading.making.limits.max_bytes,
                    concurrency=self._concurrency,
                    field=field,
                )
                for row, data in zip(at, read, strict=True):
                    found[row] = data
        return found


class PixelDecode:
    """Encoded bytes to pixels; files of a folder that cannot be used are rejected."""

    def __init__(self, reading: Reading) -> None:
        keep_memory()
        self._reading, self._making = reading, reading.making

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        pixels = np.empty((len(rows), self._making.shape.num_bytes), np.uint8)
        there: list[int] = []
        partners: list[bytes | None] = []
        for at, row in enumerate(rows.to_pylist()):
            image = self._pixels(row["encoded"], row)
            if isinstance(image, Reject):
                field, where = self._reading.where(row[SET], row[ID])
                if field == "reference":
                    raise _unusable((field, where), image)
                rejects.found.append(image)
                continue
            pixels[len(there)] = image.reshape(-1)
            there.append(at)
            partners.append(self._partner(row))
        kept = rows.select(KEPT).take(pa.array(there, pa.int64()))
        kept = kept.append_column(PIXELS, feature_column(pixels[: len(there)]))
        if PARTNER in rows.column_names:
            kept = kept.append_column(PARTNER_PIXELS, pa.array(partners, pa.large_binary()))
        return kept

    def _pixels(self, data: bytes, row: Mapping[str, Any]) -> NDArray[np.uint8] | Reject:
        """Of the row's picture, or of its partner, which lies in the same place."""
        field, where = self._reading.where(row[SET], row[ID])
        if self._reading.origin(row[SET])[1].digest is None:
            if field == "reference":
                self._check_colours(data, where)
            stored = self._as_stored(data, row[ID])
            if isinstance(stored, Reject):
                return stored
            data = stored
        return published_pixels(data, where=where, shape=self._making.shape, field=field)

    def _partner(self, row: Mapping[str, Any]) -> bytes | None:
        """The partner's pixels; None without one that can be used."""
        if row.get(PARTNER) is None:
            return None
        image = self._pixels(row[PARTNER], row)
        return None if isinstance(image, Reject) else image.tobytes()

    def _check_colours(self, data: bytes, where: str) -> None:
        """A folder is grey where its first picture is: another would lose its colours unseen."""
        if self._making.shape.channels == 1:
            picture = decode(data, limits=self._making.limits)
            if isinstance(picture, Picture) and picture.image.mode != "L":
                raise DataError(
                    "reference", where, "is in colour, and the first picture is grey",
                    "give pictures of one kind, or prepare them with `darkroom prepare`",
                )  # fmt: skip

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


def _unusable(place: tuple[str, str], reject: Reject) -> DataError:
    """A reference without one of its pictures would be another reference."""
    problem = f"cannot be used ({reject.reason}: {reject.detail})"
    return DataError(*place, problem, "mend it, or take it away")


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
