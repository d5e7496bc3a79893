"""What training must know of its dataset before the first step, checked once.

Reads the manifest only. Errors name the field of the config or of the dataset at fault.
"""

from __future__ import annotations

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
        if config.validation.early_stopping_patience and not dataset.entries("data/validation/"):
            raise ConfigError(
                "validation.early_stopping_patience",
                config.validation.early_stopping_patience,
                "the dataset has no validation split",
                "prepare one, or set it to null",
            )
        return cls(
            shape=ImageShape(int(size[0]), int(size[1]), int(metadata["channels"])),
            classes=classes,
            num_classes=len(classes) if config.objective.class_conditional else None,
            num_train_rows=num_rows,
        )
