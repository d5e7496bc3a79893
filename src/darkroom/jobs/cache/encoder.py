"""The model of `darkroom cache` on this process's device: a family's VAE and text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.drawing.device import DTYPES, prepare_device
from darkroom.models.families.base import BaseModel, load_base
from darkroom.models.families.family import TextEmbedding
from darkroom.models.families.latents import Posterior, encode_picture
from darkroom.models.find import FoundModel


@dataclass(frozen=True)
class FamilyEncoder:
    """A loaded model without its network."""

    base: BaseModel
    device: torch.device

    @torch.inference_mode()
    def posterior(self, x_BCHW: Tensor) -> Posterior:
        return encode_picture(self.base.vae, x_BCHW.to(self.device))

    @torch.inference_mode()
    def encode_text(self, captions: Sequence[str]) -> TextEmbedding:
        return self.base.encode_text(captions)

    def no_text(self) -> TextEmbedding:
        found = self.encode_text([""])
        if not self.base.drops_text_to_zeros:
            return found
        pooled = None if found.pooled is None else torch.zeros_like(found.pooled)
        return TextEmbedding(torch.zeros_like(found.sequence), pooled)

    def truncated(self, caption: str) -> int:
        return self.base.truncated(caption)


def load_encoder(
    config: WorkerConfig, model: FoundModel, weights_bytes: int, *, with_text: bool = True
) -> FamilyEncoder:
    """Errors: ConfigError for what cannot be loaded, or does not fit on the device."""
    device = prepare_device(config, weights_bytes, prefix="encoders.")
    with model.local() as folder:
        base = load_base(
            folder, field="base", name=model.name, dtype=DTYPES[config.precision],
            with_network=False, with_text=with_text,
        )  # fmt: skip
    base.pipeline.to(device)
    return FamilyEncoder(base, device)
