"""The `finetune` verb: latent diffusion with captions, from a base model of a known family.

Here stands what is this verb's own: which base, what of it trains, and what is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.finetune.cached import CachedRows
from darkroom.jobs.finetune.checks import check_base, check_pictures, check_settings
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.loss_aids import LossAids, find_aids
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.job import run_training
from darkroom.jobs.training.row_source import RowSource
from darkroom.jobs.training.trainable import OnRow, Trainable, TrainingResult, ignore_row
from darkroom.models.families.find import family_of
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Parent

if TYPE_CHECKING:
    from darkroom.jobs.training.module import TrainedModule
    from darkroom.models.families.base import BaseModel

FIELD = "base"


def run(config: FinetuneConfig, *, on_row: OnRow = ignore_row) -> dict[str, Any]:
    """Train until the model is published; returns where, and its figures.

    Errors: as `run_training`; ConfigError for a base that is none.
    """
    base = find_model(config.base, field=FIELD)
    return run_training(Finetuning(config, base, aids=find_aids(config.losses)), on_row=on_row)


class Finetuning(Trainable[FinetuneConfig]):
    """One base model, fine-tuned."""

    verb = "finetune"
    info = FinetunedInfo
    can_shard = True
    takes_buckets = True

    def __init__(
        self, config: FinetuneConfig, base: FoundModel, *, aids: LossAids | None = None
    ) -> None:
        """aids: what terms of the loss are made with."""
        super().__init__(config)
        self._base = base
        self._aids = aids or LossAids()
        self._cached: CachedRows | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Pictures and their captions."""
        return ("image", "caption")

    def parents(self) -> Sequence[Parent]:
        """The base, the cache, and what the loss is made with: a run goes on over these alone."""
        cached = () if self._cached is None else (self._cached.as_parent(),)
        return (self._base.as_parent("base"), *cached, *self._aids.parents())

    def check(self, data: TrainingData) -> None:
        """Refuse a base that does not load, and what does not suit it; nothing is loaded."""
        family = family_of(self._base, field=FIELD)
        check_settings(self.config, family)
        check_pictures(data)
        self._cached = CachedRows.of(self.config, data, self._base)
        check_base(data, self._base, family, field=FIELD)
        self._aids.check(self.config, data)

    def remarks(self, data: TrainingData) -> Iterator[str]:
        """Rows that the cache has not."""
        if self._cached is not None:
            yield from self._cached.remarks(self.config)

    def source(self, data: TrainingData, split: Split, limit: int | None) -> RowSource:
        """Encodings, where they are cached."""
        if self._cached is not None:
            return self._cached.source(split)
        return super().source(data, split, limit)

    def build(self, data: TrainingData) -> TrainedModule:
        """The base with its adapters, and the loss."""
        from darkroom.jobs.finetune.module import FinetuneModule

        latents = None if self._cached is None else self._cached.latents
        no_text = latents.no_text() if latents is not None and latents.has_text else None
        return FinetuneModule(
            self.config,
            self._load(),
            no_text=no_text,
            features=self._aids.features(),
            prior=self._aids.prior_rows(self.config),
            picture_size=squarest(data.sizes),
        )

    def export(self, data: TrainingData, result: TrainingResult, folder: Path) -> FinetunedInfo:
        """A LoRA or a whole diffusers folder, with a model card."""
        from darkroom.jobs.finetune.export import export_full, export_lora
        from darkroom.jobs.finetune.model_card import license_of, model_card

        full = self.config.method == "full"
        base = self._load(whole=full)
        with self._base.local() as base_folder:
            base_license = license_of(base_folder)
        if full:
            export_full(base, result.weights, folder)
        else:
            export_lora(self.config, base, result.weights, folder)
        info = FinetunedInfo(
            family=base.family.name,
            method=self.config.method,
            base_digest=self._base.digest,
            base_license=base_license,
            trigger_words=self.config.trigger_words,
            image_sizes=tuple(data.sizes),
            step=result.step,
            seconds=result.seconds,
            final=result.final,
        )
        card = model_card(
            self.config, info, title=base.family.title,
            data_digest=data.dataset.artifact.content_digest,
        )  # fmt: skip
        (folder / "model_card.md").write_text(card)
        return info

    def _load(self, *, whole: bool = False) -> BaseModel:
        import torch

        from darkroom.models.families.base import load_base

        cached = None if whole or self._cached is None else self._cached.latents
        draws, losses = self.config.validation.pictures is not None, self.config.losses
        with self._base.local() as folder:
            return load_base(
                folder, field=FIELD, name=self._base.name, whole=whole,
                dtype=getattr(torch, self.config.base_precision),
                with_vae=cached is None or draws or losses.perceptual is not None,
                with_text=cached is None or draws or not cached.has_text,
            )  # fmt: skip


def squarest(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Of some heights and widths, what is drawn on the way: the nearest to a square, the largest
    of these."""
    return max(sizes, key=lambda size: (-abs(math.log(size[0] / size[1])), size[0] * size[1]))
