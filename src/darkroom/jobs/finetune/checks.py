"""What is refused before anything is written, by configs and headers of files alone.

The driver runs this, on a machine that may hold neither the base nor torch.
"""

from __future__ import annotations

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.finetune.config import FinetuneConfig, LatentObjectiveConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.models.families.family import Family
from darkroom.models.families.find import json_object
from darkroom.models.families.fitting import check_folder
from darkroom.models.find import FoundModel


def check_pictures(data: TrainingData) -> None:
    """Refuse grey pictures and pictures without a caption. Errors: DataError."""
    if data.channels != 3:
        raise DataError(
            "input", data.uri, "has grey pictures, and the base draws in colour",
            "prepare it with channels=3",
        )  # fmt: skip
    if not _has_captions(data):
        raise DataError(
            "input", data.uri, "has no caption in its training split",
            "prepare it with source.kind captions or parquet",
        )  # fmt: skip


def check_base(data: TrainingData, base: FoundModel, family: Family, *, field: str) -> None:
    """Refuse a base that would not load, and pictures of a size that does not suit it.

    Errors: ConfigError, DataError.
    """
    vae_config = json_object(base.read("vae/config.json")) or {}
    multiple = family.pixel_multiple(vae_config)
    for height, width in data.sizes:
        for name, size in (("height", height), ("width", width)):
            if size % multiple:
                raise DataError(
                    "input", data.uri, f"has pictures of {name} {size}, and the base takes "
                    f"multiples of {multiple}",
                    "prepare it with an image_size, or buckets.divisibility, that is one",
                )  # fmt: skip
    check_folder(base, family, field=field)


def check_settings(config: FinetuneConfig, family: Family) -> None:
    """Refuse what no base, or not this one, can be trained with. Errors: ConfigError."""
    check_objective(config.objective, family)
    check_sharding(config)
    if not config.compute.sdpa:
        raise ConfigError(
            "compute.sdpa", config.compute.sdpa, "cannot be turned off: the base's "
            "attention is scaled_dot_product_attention", "leave it at true",
        )  # fmt: skip


def check_sharding(config: FinetuneConfig) -> None:
    """Refuse what does not know of shares. Errors: ConfigError."""
    if config.workers.sharding == "none":
        return
    if config.optimizer.name != "adamw":
        raise ConfigError(
            "optimizer.name", config.optimizer.name,
            "does not know of networks that are shared out (workers.sharding)", "take adamw",
        )  # fmt: skip
    if config.losses.adversarial is not None:
        raise ConfigError(
            "losses.adversarial", None,
            "its discriminator is not shared out as the network is (workers.sharding)",
            "leave out one of the two",
        )  # fmt: skip


def check_objective(config: LatentObjectiveConfig, family: Family) -> None:
    """Refuse settings of the other kind of objective. Errors: ConfigError."""
    if family.objective == "flow" and config.min_snr_gamma is not None:
        raise ConfigError(
            "objective.min_snr_gamma", config.min_snr_gamma,
            "weighs by a schedule of betas, and this base matches flows", "leave it out",
        )  # fmt: skip
    if family.objective == "diffusion" and config.flow_shift is not None:
        raise ConfigError(
            "objective.flow_shift", config.flow_shift,
            "belongs to flow matching, and this base has a schedule of betas", "leave it out",
        )  # fmt: skip


def _has_captions(data: TrainingData) -> bool:
    """Whether one row has a text; row groups are read up to the first that has."""
    # Of its own: an opened reader cannot travel to the workers.
    dataset = Dataset(data.dataset.artifact, data.dataset.info)
    for table in dataset.tables("train", ("caption",)):
        if any(caption for caption in table["caption"].to_pylist()):
            return True
    return False
