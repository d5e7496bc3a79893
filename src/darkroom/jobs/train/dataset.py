"""What training must know of its dataset before the first step, checked once.

Reads the manifest only. Errors name the field of the config or of the dataset at fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.training.stream import ImageShape, row_groups
from darkroom.storage import Artifact


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Shape, classes and sizes of a prepared dataset, as far as they shape the model."""

    shape: ImageShape
    classes: tuple[str, ...]
    num_classes: int | None
    """None when the model is not conditioned on classes."""
    num_train_rows: int
    has_validation: bool

    @classmethod
    def of(cls, dataset: Artifact, config: TrainConfig) -> DatasetFacts:
        """Read and check the manifest's metadata against the config.

        Errors: DataError, ConfigError.
        """
        metadata = dataset.manifest.metadata
        size = metadata.get("image_size")
        if size is None:
            raise DataError(
                "input",
                str(dataset.uri),
                "its images differ in size",
                "prepare it again with image_size set",
            )
        num_rows = sum(group.num_rows for group in row_groups(dataset, "train", config.limit))
        if num_rows < config.workers.num_workers:
            raise DataError(
                "input",
                str(dataset.uri),
                f"has {num_rows} training rows for {config.workers.num_workers} workers",
                "prepare more data or use fewer workers",
            )
        rows_per_worker = num_rows // config.workers.num_workers
        if config.data.ingest == "ray_data" and rows_per_worker < config.images_per_micro_batch:
            raise ConfigError(
                "data.ingest",
                "ray_data",
                f"a worker's share of an epoch is {rows_per_worker} rows, less than its batch of "
                f"{config.images_per_micro_batch}",
                "lower batch_size, or set data.ingest to exact, whose batches span epochs",
            )
        classes = tuple(metadata.get("classes") or ())
        if config.objective.class_conditional and not classes:
            raise DataError(
                "input",
                str(dataset.uri),
                "has no classes",
                "set objective.class_conditional=false",
            )
        has_validation = bool(row_groups(dataset, "validation", 1))
        for field, value, other in _fields_that_validate(config):
            if not has_validation:
                raise ConfigError(
                    field,
                    value,
                    "needs a validation loss, and the dataset has no validation split",
                    f"prepare it with split.validation above 0, or set it to {other}",
                )
        return cls(
            shape=ImageShape(int(size[0]), int(size[1]), int(metadata["channels"])),
            classes=classes,
            num_classes=len(classes) if config.objective.class_conditional else None,
            num_train_rows=num_rows,
            has_validation=has_validation,
        )

    def remarks(self, config: TrainConfig) -> Iterator[str]:
        """What the data makes of settings that were not chosen for it."""
        if not self.has_validation:
            yield "the data has no validation split: no validation loss is measured"
        if config.batch_size > self.num_train_rows:
            yield (
                f"batch_size {config.batch_size} is more than the {self.num_train_rows} training "
                "rows: a step meets some of them more than once"
            )
        sizes = [self.shape.height >> level for level in range(len(config.unet.block_out_channels))]
        wanted = config.unet.attention_resolutions
        if wanted and not set(wanted) & set(sizes):
            yield (
                f"unet.attention_resolutions {list(wanted)}: the levels of these pictures are "
                f"{sizes} pixels high, so the model has no attention"
            )


def _fields_that_validate(config: TrainConfig) -> Iterator[tuple[str, object, str]]:
    """Settings that wait for a validation loss, and what to set them to without one."""
    if config.validation.early_stopping_patience:
        patience = config.validation.early_stopping_patience
        yield "validation.early_stopping_patience", patience, "null"
    if config.lr_schedule.kind == "plateau":
        yield "lr_schedule.kind", "plateau", "another"
    if config.export == "best":
        yield "export", "best", "last"
