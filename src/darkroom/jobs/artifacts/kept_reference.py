"""The features of a reference, kept in an evaluation: what later ones are measured against.

`reference.json` holds a `KeptReference`; `reference/part-NNNNN.parquet` the rows: `set` (train or
test), `label`, and a column of features for each digest. Pictures of another evaluation are
compared with these rows without a picture of the reference being read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from darkroom.errors import DataError
from darkroom.jobs.artifacts.evaluation import EvaluationInfo, ExtractorFacts
from darkroom.jobs.artifacts.info import plain_values, read_values
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_FILE = "reference.json"
KEPT_PREFIX = "reference/"


@dataclass(frozen=True, kw_only=True)
class KeptReference:
    """What is known of the pictures behind the features."""

    content: str
    """Content digest of the reference itself, wherever it lies."""
    num_train: int
    """0 for a folder, which has no splits."""
    num_test: int
    image_size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    classes: tuple[str, ...]
    is_labelled: bool
    """Every picture has a class."""
    captions_are_known: bool
    """Of every test picture."""
    making: Mapping[str, Any]
    """Settings of `prepare` by which files of a folder are taken as it would have."""
    digests: Mapping[str, str]
    """Of what made the features, by column."""
    extractors: Mapping[str, ExtractorFacts]
    """The networks among it, with their resize filters, by name."""

    @property
    def shape(self) -> ImageShape:
        """The size of every picture."""
        return ImageShape(*self.image_size, self.channels)

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "reference") -> Self:
        """Errors: DataError for an evaluation that kept none, or what is no evaluation."""
        EvaluationInfo.of(artifact, field=field)
        if not artifact.entries(KEPT_FILE):
            raise DataError(
                field, str(artifact.uri), "is an evaluation that did not keep its reference",
                "measure with --set keep_reference=true, or give the reference itself",
            )  # fmt: skip
        return read_values(
            cls, artifact.read_json(KEPT_FILE), what=f"has a file {KEPT_FILE}",
            where=str(artifact.uri), field=field, remedy="measure again with `darkroom evaluate`",
        )  # fmt: skip

    def to_json(self) -> bytes:
        """The bytes of `reference.json`."""
        return json.dumps(plain_values(self), indent=1).encode()


def kept_tables(artifact: Artifact, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows, a part at a time, in order; verified."""
    for entry in artifact.entries(KEPT_PREFIX):
        yield artifact.read_table(entry.name).select(list(columns))
