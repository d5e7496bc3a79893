"""Latents: the encodings of a dataset's pictures and captions, as `darkroom cache` publishes them.

Its files are those of `split_rows.py`, with the columns of `LATENTS_SCHEMA`: of each picture the
VAE's posterior, of each caption its embedding, each with a key of all that it was made from. Arrays
are little-endian bytes of `stored_dtype` with their shape beside them.

Legend: K variants, C H W of latents, T tokens, D width of the embedding, P of the pooled one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.artifacts.split_rows import SplitRows
from darkroom.jobs.pictures.config import Split
from darkroom.storage import Artifact

NO_TEXT_NAME = "no_text.parquet"
"""One row with the text columns: the embedding that stands for no caption."""
TEXT_COLUMNS = ("sequence", "sequence_shape", "pooled")
PICTURE_COLUMNS = ("latents", "latents_shape")
StoredDtype = Literal["float32", "float16"]
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LatentsInfo(BatchInfo):
    """What the manifest of latents says of them."""

    kind: ClassVar[Kind] = Kind.LATENTS
    verb: ClassVar[str] = "cache"

    split_rows: Mapping[str, int]
    """Rows of each split."""
    variants: int
    """Encodings of each picture."""
    augment: Mapping[str, Any] | None
    """The transformations that the variants differ by; None for a single one."""
    stored_dtype: StoredDtype
    precision: str
    """Of the text encoders; the VAE runs in float32."""
    family: str
    """Of the model: sd, sdxl, ..."""
    vae_digest: str
    """Of the files of the model's VAE."""
    text_digest: str | None
    """Of the files of the model's text encoders and tokenizers; None where no text is encoded."""
    num_encoded: int
    """Encodings of pictures that this run made."""
    num_reused: int
    """Those that it took from an earlier cache."""
    num_texts_encoded: int
    """Rows whose caption this run encoded."""
    num_truncated: int
    """Rows whose caption is longer than a text encoder reads."""


@dataclass(frozen=True, slots=True)
class Text:
    """A caption's embedding."""

    sequence: Values
    """(T, D)."""
    pooled: Values | None
    """(P,); None where the network takes none."""


@dataclass(frozen=True, slots=True)
class LatentsRow:
    """A picture's encodings and its caption's, as they were stored."""

    id: str
    caption: str
    height: int
    width: int
    """Of the picture, in pixels."""
    mean: Values
    """(K, C, H, W), before the VAE's scale and shift."""
    log_variance: Values
    """The same."""
    embedding: Text | None
    """Of the caption; None where captions were not encoded."""
    is_truncated: bool | None
    """None where captions were not encoded."""

    @property
    def text(self) -> Text:
        """The caption's embedding. Errors: DataError where captions were not encoded."""
        if self.embedding is None:
            raise DataError("text", self.id, "was cached without its text", "cache with text=true")
        return self.embedding


@dataclass(frozen=True)
class Latents(SplitRows):
    """Published latents and their rows."""

    info: LatentsInfo

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """Errors: DataError for what is no latents."""
        return cls(artifact, LatentsInfo.of(artifact, field=field))

    def rows(self, split: Split | None = None, *, limit: int | None = None) -> Iterator[LatentsRow]:
        """One row at a time."""
        for group in self.row_groups(split, limit):
            for row in self.reader.read(group).to_pylist():
                yield self.row(row)

    def row(self, values: Mapping[str, Any]) -> LatentsRow:
        """A row of the table, decoded."""
        posterior = self._array(values["latents"], values["latents_shape"])
        return LatentsRow(
            id=values["id"],
            caption=values["caption"],
            height=values["height"],
            width=values["width"],
            mean=posterior[:, 0],
            log_variance=posterior[:, 1],
            embedding=None if values["sequence"] is None else self._text(values),
            is_truncated=values["is_truncated"],
        )

    @property
    def has_text(self) -> bool:
        """Whether captions are encoded too."""
        return self.info.text_digest is not None

    def no_text(self) -> Text:
        """What stands for no caption: of the empty text, or zeros, as the family has it.

        Errors: ObjectNotFoundError for latents without embeddings.
        """
        (row,) = self.artifact.read_table(NO_TEXT_NAME).to_pylist()
        return self._text(row)

    def _text(self, values: Mapping[str, Any]) -> Text:
        pooled = values["pooled"]
        return Text(
            self._array(values["sequence"], values["sequence_shape"]),
            None if pooled is None else self._array(pooled, (-1,)),
        )

    def _array(self, data: bytes, shape: Any) -> Values:
        stored = np.frombuffer(data, np.dtype(self.info.stored_dtype).newbyteorder("<"))
        return stored.reshape(shape).astype(np.float32)
