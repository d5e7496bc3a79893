"""What training must know of its dataset before the first step, checked once.

Reads the manifest only. Errors name the field of the config or of the dataset at fault. What the
network makes of the data is the verb's (`Trainable.check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.training.config import TrainingConfig
from darkroom.storage import Artifact


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A prepared dataset, as far as it shapes a run."""

    dataset: Dataset
    shape_of_all: ImageShape | None
    """None where pictures are in buckets."""
    num_train_rows: int
    has_validation: bool

    @classmethod
    def of(
        cls, artifact: Artifact, config: TrainingConfig, *, takes_buckets: bool = False
    ) -> TrainingData:
        """Read the manifest and check it against the config.

        takes_buckets: whether pictures may have one of several sizes.
        Errors: DataError, ConfigError.
        """
        dataset = Dataset.of(artifact)
        in_buckets = takes_buckets and bool(dataset.info.buckets)
        groups = dataset.row_groups("train", config.limit)
        data = cls(
            dataset,
            shape_of_all=None if in_buckets else dataset.shape(),
            num_train_rows=groups.num_rows,
            has_validation=bool(dataset.row_groups("validation", 1)),
        )
        data._check(config)
        return data

    @property
    def shape(self) -> ImageShape:
        """Of every picture. Errors: DataError where they differ."""
        return self.dataset.shape() if self.shape_of_all is None else self.shape_of_all

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of every bucket that training meets, or of all pictures."""
        if self.shape_of_all is not None:
            return [(self.shape.height, self.shape.width)]
        met = [bucket for bucket in self.dataset.info.buckets if bucket.split_rows.get("train")]
        return sorted((bucket.height, bucket.width) for bucket in met)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.dataset.info.channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, by index."""
        return self.dataset.info.classes

    @property
    def uri(self) -> str:
        """Where the dataset is."""
        return str(self.dataset.artifact.uri)

    def remarks(self, config: TrainingConfig) -> Iterator[str]:
        """What the data makes of settings that were not chosen for it."""
        if not self.has_validation:
            yield "the data has no validation split: no validation loss is measured"
        if self.shape_of_all is None:
            yield from self._short_buckets(config)
        elif config.batch_size > self.num_train_rows:
            yield (
                f"batch_size {config.batch_size} is more than the {self.num_train_rows} training "
                "rows: a step meets some of them more than once"
            )

    def _short_buckets(self, config: TrainingConfig) -> Iterator[str]:
        counts = [bucket.split_rows.get("train", 0) for bucket in self.dataset.info.buckets]
        short = sum(0 < count < config.batch_size for count in counts)
        if short and config.limit is None:
            yield (
                f"{short} of the {len(self.sizes)} buckets have fewer training rows than "
                f"batch_size {config.batch_size}: their steps are short, and count by their rows"
            )

    def _check(self, config: TrainingConfig) -> None:
        if self.num_train_rows < config.workers.num_ranks:
            raise DataError(
                "input",
                self.uri,
                f"has {self.num_train_rows} training rows for {config.workers.num_workers} workers",
                "prepare more data or use fewer workers",
            )
        rows_per_worker = self.num_train_rows // config.workers.num_ranks
        if config.data.ingest == "ray_data" and rows_per_worker < config.largest_share:
            raise ConfigError(
                "data.ingest",
                "ray_data",
                f"a worker's share of an epoch is {rows_per_worker} rows, less than its share of "
                f"a batch, {config.largest_share}",
                "lower batch_size, or set data.ingest to exact, whose batches span epochs",
            )
        for field, value, other in () if self.has_validation else _fields_that_validate(config):
            raise ConfigError(
                field,
                value,
                "needs a validation loss, and the dataset has no validation split",
                f"prepare it with split.validation above 0, or set it to {other}",
            )


def _fields_that_validate(config: TrainingConfig) -> Iterator[tuple[str, object, str]]:
    """Settings that wait for a validation loss, and what to set them to without one."""
    if config.validation.early_stopping_patience:
        patience = config.validation.early_stopping_patience
        yield "validation.early_stopping_patience", patience, "null"
    if config.lr_schedule.kind == "plateau":
        yield "lr_schedule.kind", "plateau", "another"
    if config.export == "best":
        yield "export", "best", "last"
