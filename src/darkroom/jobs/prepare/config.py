"""What `darkroom prepare` reads, how it treats each picture, and how it lays out the Parquet.

Assumes nothing about the input; it is listed when the job starts. Imports neither ray nor torch,
so the command line can print and check it at once.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom.config import Config, Fraction, Place, operational
from darkroom.jobs.batch.config import BatchConfig, PieceRows
from darkroom.jobs.pictures.config import EncodingConfig, LimitsConfig, Side, TransformsConfig

Byte = Annotated[int, Field(ge=0, le=255)]


class DigitsSource(Config):
    """The 1,797 handwritten digits that scikit-learn ships: 8x8, grey, ten classes."""

    kind: Literal["digits"] = "digits"
    """Names the source."""


class ImageFolderSource(Config):
    """A folder with one subfolder per class, in split folders or not, or with metadata files."""

    kind: Literal["image_folder"] = "image_folder"
    """Names the source."""
    uri: Place
    """URI (s3://bucket/prefix) or path of the folder that holds the class folders."""


class IdxSource(Config):
    """MNIST-format files: `<uri>/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`."""

    kind: Literal["idx"] = "idx"
    """Names the source."""
    uri: Place
    """URI (s3://bucket/prefix) or path of the folder that holds the files."""
    classes: tuple[str, ...] | None = None
    """Names of the classes by label; null for their numbers."""
    validation_share: Fraction = 0.05
    """Share of the training file held back for validation, where no file is there for it."""


class CaptionsSource(Config):
    """Captioned pictures, in split folders or not: `captions.json`, metadata or text files."""

    kind: Literal["captions"] = "captions"
    """Names the source."""
    uri: Place
    """URI or path of the folder that holds train, validation and test, or pictures."""


class ParquetSource(Config):
    """Parquet files with encoded pictures in a column, as the Hugging Face hub has them."""

    kind: Literal["parquet"] = "parquet"
    """Names the source."""
    uri: Place
    """URI or path of the folder that holds the files."""
    image_column: str = "image"
    """Column of the encoded pictures: bytes, or a struct of bytes and path."""
    caption_column: str | None = "text"
    """Column of the captions; null for pictures without."""


SourceConfig = Annotated[
    DigitsSource | ImageFolderSource | IdxSource | CaptionsSource | ParquetSource,
    Field(discriminator="kind"),
]


class SplitConfig(Config):
    """Shares of the pictures of every class; the three add up to 1."""

    train: Fraction = 0.8
    """Share for training; the only split that is augmented."""
    validation: Fraction = 0.1
    """Share for choosing settings while training."""
    test: Fraction = 0.1
    """Share held back for evaluation."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train + validation + test must be 1, not {total:g}")
        return self


class AugmentConfig(TransformsConfig):
    """Extra training rows made from each training picture; the original is always kept too.

    Every random draw derives from (seed, picture id, copy index), so a redone row is equal.
    """

    copies: Annotated[int, Field(ge=0, le=100)] = 0
    """Augmented rows per training picture; their ids end in ~1, ~2, ..."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.copies and self.is_identity:
            raise ValueError(
                f"{self.copies} copies without a transformation repeat the same picture; "
                "declare horizontal_flip, crop or color_jitter, or set copies to 0"
            )
        if not self.copies and not self.is_identity:
            raise ValueError("transformations without copies do nothing; set copies to 1 or more")
        return self


class BucketsConfig(Config):
    """Aspect-ratio buckets: each picture gets the size of the nearest aspect ratio."""

    resolution: Side = 512
    """Every bucket has about resolution x resolution pixels."""
    divisibility: Annotated[int, Field(ge=1, le=1024)] = 64
    """Sides are multiples of this: 64 suits Stable Diffusion, 16 transformers."""
    sizes: Annotated[tuple[tuple[Side, Side], ...], Field(min_length=1)] | None = None
    """[height, width] of each bucket; null makes those of diffusers, from 1:2 to 2:1."""


class PrepareConfig(BatchConfig):
    """Decode, check, augment, resize and store pictures as Parquet with Ray Data."""

    source: SourceConfig
    """Where pictures come from: kind digits, or image_folder, captions, parquet, idx with a uri."""
    piece_rows: PieceRows = 1024
    """Pictures that are committed together, or 16 MB of them. A killed run redoes at most the
    pieces in flight."""

    image_size: tuple[Side, Side] | None = None
    """[height, width] of every stored picture; without it and buckets each keeps its own size."""
    buckets: BucketsConfig | None = None
    """In place of image_size: pictures of several sizes, each of the nearest bucket's."""
    channels: Literal[1, 3] | None = None
    """1 stores grey (L), 3 stores RGB; null is 1 where every picture is grey, else 3."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How another aspect ratio meets the size: centre crop, pad with background, or stretch."""
    resample: Literal["bicubic", "bilinear", "lanczos", "nearest"] = "bicubic"
    """Resize filter; all but nearest are antialiased."""
    background: Byte = 255
    """Grey level under transparent pixels and in padding: 255 white, 0 black."""
    animated: Literal["reject", "first_frame"] = "reject"
    """A file of several frames is rejected, or stands for its first frame."""

    encoding: EncodingConfig = EncodingConfig()
    """How pictures are stored."""
    split: SplitConfig = SplitConfig()
    """Shares of train, validation and test within every class, where the source has no split."""
    augment: AugmentConfig = AugmentConfig()
    """Extra rows of the train split."""
    limits: LimitsConfig = LimitsConfig()
    """Bounds on one input file."""

    file_size_mb: Annotated[int, Field(ge=1, le=1024)] = 128
    """Target size of a Parquet file in MB; 64 to 256 suits S3 and Ray."""
    row_group_rows: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Most rows of a row group: the unit that training permutes."""
    row_group_mb: Annotated[int, Field(ge=1, le=256)] = 32
    """Most MB of a row group."""

    num_cpus: Annotated[float, operational(gt=0, le=64, allow_inf_nan=False)] = 1.0
    """CPUs that Ray reserves per worker; there are as many workers as the cluster has CPUs for."""
    read_concurrency: Annotated[int, operational(ge=1, le=256)] = 16
    """Files that one worker reads at once."""

    @property
    def needs_colour(self) -> str | None:
        """Why pictures are stored in colour, whatever they are."""
        jitter = self.augment.color_jitter
        if jitter and (jitter.saturation or jitter.hue):
            return "augment.color_jitter changes saturation or hue"
        return "WebP has no grey pictures" if self.encoding.format == "webp" else None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.buckets is not None and self.image_size is not None:
            raise ValueError("image_size and buckets exclude each other; set one of them to null")
        jitter = self.augment.color_jitter
        if self.channels == 1 and jitter and (jitter.saturation or jitter.hue):
            raise ValueError(
                "augment.color_jitter: saturation and hue need colour; "
                "set channels to 3 or both to 0"
            )
        if self.channels == 1 and self.encoding.format == "webp":
            raise ValueError("encoding.format: webp has no grey pictures; use png or jpeg")
        return self
