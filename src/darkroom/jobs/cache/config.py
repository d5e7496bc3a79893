"""What `darkroom cache` encodes, with which model, and what of an earlier cache it may keep.

Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom.config import ModelPlace, Place, PositiveInt, operational
from darkroom.jobs.batch.config import BatchConfig, PieceRows
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.pictures.config import TransformsConfig


class CacheConfig(BatchConfig):
    """Encode the pictures and captions of a dataset once, for all epochs of fine-tuning."""

    input: Annotated[Place, operational()]
    """Data that `darkroom prepare` published, with captions."""
    base: Annotated[ModelPlace, operational()]
    """A diffusers folder (path or s3:// URI) or a hub id; its VAE and text encoders are used."""
    reuse: Annotated[Place | None, operational()] = None
    """An earlier cache: what was made of the same inputs is taken from it. With --overwrite the
    one that is replaced, unless another is named."""
    piece_rows: PieceRows = 64
    """Rows that are committed together. A killed run redoes at most the pieces in flight."""

    text: bool = True
    """Encode the captions too; false where a text encoder will train, or captions will vary."""
    variants: Annotated[int, Field(ge=1, le=64)] = 1
    """Encodings per picture: the picture itself, and so many less one of its transformations."""
    augment: TransformsConfig = TransformsConfig()
    """By what the variants differ from the picture, at random."""
    batch_size: PositiveInt = 8
    """Pictures, and captions, that the model takes at once; mates may change the last bit."""
    stored_dtype: Literal["float32", "float16"] = "float32"
    """Type of what is stored; float16 takes half the space and costs 2e-4 of a latent."""

    encoders: WorkerConfig = WorkerConfig()
    """Workers with the model. `precision` is that of the text encoders; the VAE is float32."""
    file_size_mb: Annotated[int, Field(ge=1, le=1024)] = 128
    """Target size of a Parquet file in MB."""
    row_group_rows: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Most rows of a row group: the unit that training permutes."""
    row_group_mb: Annotated[int, Field(ge=1, le=256)] = 32
    """Most MB of a row group."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.variants > 1 and self.augment.is_identity:
            raise ValueError(
                f"{self.variants} variants without a transformation repeat the same encoding; "
                "declare augment.horizontal_flip, crop or color_jitter, or set variants to 1"
            )
        if self.variants == 1 and not self.augment.is_identity:
            raise ValueError(
                "augment: a single encoding holds no transformation; set variants to 2 or more"
            )
        return self
