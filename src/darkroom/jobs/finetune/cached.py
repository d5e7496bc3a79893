"""Latents that `darkroom cache` published, in place of pictures: whether they suit a run.

Everything is checked in the driver, before anything is written. Bases are compared by the parts
that encode, so the cache of a base serves whatever was made of it by training its network alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from darkroom.errors import ConfigError, DataError, ObjectNotFoundError
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.latent_source import LatentSource
from darkroom.models.families.family import TEXT_FOLDERS, VAE_FOLDERS
from darkroom.models.find import FoundModel
from darkroom.storage import Parent, open_artifact

FIELD = "cache"
_GIGABYTE = 1024**3
_MUCH = 2 * _GIGABYTE


@dataclass(frozen=True)
class CachedRows:
    """A run's cache, checked, with its rows found."""

    latents: Latents
    train: LatentSource
    validation: LatentSource

    @classmethod
    def of(cls, config: FinetuneConfig, data: TrainingData, base: FoundModel) -> CachedRows | None:
        """None for a run without a cache. Errors: DataError, ConfigError where it does not fit."""
        if config.cache is None:
            return None
        latents = _opened(config.cache)
        _check_settings(config, latents)
        _check_made_of(latents, data, base)
        found = cls(
            latents,
            LatentSource.of(latents, data, "train", config.limit, field=FIELD),
            LatentSource.of(latents, data, "validation", config.validation.num_images, field=FIELD),
        )
        found._check_rows(config, data)
        return found

    def source(self, split: Split) -> LatentSource:
        """The rows of a split."""
        return self.train if split == "train" else self.validation

    def as_parent(self) -> Parent:
        """The cache, in the lineage."""
        return self.latents.artifact.as_parent("cache")

    def remarks(self, config: FinetuneConfig) -> Iterator[str]:
        """Rows that are left out, and much memory."""
        for split, source in (("training", self.train), ("validation", self.validation)):
            if source.num_missing:
                whole = source.num_rows + source.num_missing
                yield (
                    f"{source.num_missing} of the {whole} {split} rows are not in the cache and "
                    f"are left out{_reasons(self.latents)}"
                )
        kept = self.train.window_bytes(config.data.shuffle_window)
        if kept > _MUCH:
            yield (
                f"each worker keeps up to {kept / _GIGABYTE:.1f} GB of the cache in memory, to "
                f"shuffle data.shuffle_window {config.data.shuffle_window} row groups together; "
                "fewer take less, and so does a cache with stored_dtype float16"
            )

    def _check_rows(self, config: FinetuneConfig, data: TrainingData) -> None:
        workers = config.workers.num_ranks
        if self.train.num_rows < workers:
            _refuse(
                self.latents,
                f"has {self.train.num_rows} of the training rows for {workers} workers",
                "encode more of them",
            )
        if data.has_validation and not self.validation.num_rows:
            _refuse(self.latents, "has none of the validation rows", "encode all of the data")


def _opened(uri: str) -> Latents:
    try:
        return Latents.of(open_artifact(uri), field=FIELD)
    except ObjectNotFoundError:
        raise DataError(
            FIELD, uri, "nothing is published there", "make it with `darkroom cache`"
        ) from None


def _check_settings(config: FinetuneConfig, latents: Latents) -> None:
    """Errors: ConfigError for what encodings cannot hold."""
    if config.text_encoder is not None and latents.has_text:
        raise ConfigError(
            "text_encoder", None,
            f"trains, and the cache {latents.artifact.uri} holds what it made of captions before",
            "leave text_encoder out, or make the cache with text=false",
        )  # fmt: skip
    if config.caption_shuffle is not None and latents.has_text:
        raise ConfigError(
            "caption_shuffle", None,
            f"changes captions, and the cache {latents.artifact.uri} holds what was made of them",
            "leave it out, or make the cache with text=false",
        )  # fmt: skip
    for name, done in (
        ("horizontal_flip", "mirrored"), ("crop", "cropped"), ("color_jitter", "recoloured")
    ):  # fmt: skip
        if getattr(config.data, name) and not (latents.info.augment or {}).get(name):
            raise ConfigError(
                f"data.{name}", None, f"an encoding cannot be {done}, and the cache "
                f"{latents.artifact.uri} holds no {done} pictures",
                f"make it with variants of 2 or more and augment.{name}, or leave this out",
            )  # fmt: skip


def _check_made_of(latents: Latents, data: TrainingData, base: FoundModel) -> None:
    """Errors: DataError for encodings of other data, or by another model."""
    digests = {each.role: each.digest for each in latents.artifact.manifest.parents}
    if digests.get("data") != data.dataset.artifact.digest:
        _refuse(
            latents, f"was made of other data than {data.uri}",
            "encode these with `darkroom cache`; --reuse takes over what is still right",
        )  # fmt: skip
    info = latents.info
    parts = (
        ("VAE", info.vae_digest, VAE_FOLDERS), ("text encoders", info.text_digest, TEXT_FOLDERS)
    )  # fmt: skip
    for what, digest, folders in parts:
        if digest is not None and digest != base.folders_digest(folders):
            _refuse(
                latents, f"was made with other {what} than those of base {base.name}",
                "encode with this base; --reuse takes over what is still right",
            )  # fmt: skip


def _refuse(latents: Latents, problem: str, remedy: str) -> NoReturn:
    raise DataError(FIELD, str(latents.artifact.uri), problem, remedy)


def _reasons(latents: Latents) -> str:
    rejected = latents.info.rejected
    if not rejected:
        return ""
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
    return f" (its dead letters: {counts})"
