"""What a batch gives the network: clean latents and a text embedding, cached or made on the way.

A batch holds pictures and captions, or the VAE's posterior and, unless they are left out, the
captions' embeddings. What is drawn for a row is the same either way.

Legend: B rows, C h w of latents, H W of pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from darkroom.diffusion.pixels import to_unit_range
from darkroom.jobs.artifacts.latents import Text
from darkroom.jobs.training.augment import augmented
from darkroom.jobs.training.config import DataConfig
from darkroom.jobs.training.draws import RowDraws
from darkroom.jobs.training.training_stream import Batch
from darkroom.models.families.base import BaseModel
from darkroom.models.families.family import TextEmbedding
from darkroom.models.families.latents import Posterior, encode_picture, to_network


class CachedNoText(nn.Module):
    """What stands for no caption, on the device of the parameters; in no checkpoint."""

    def __init__(self, text: Text) -> None:
        super().__init__()
        self.sequence = nn.Buffer(torch.from_numpy(text.sequence)[None], persistent=False)
        pooled = torch.empty(0) if text.pooled is None else torch.from_numpy(text.pooled)[None]
        self.pooled = nn.Buffer(pooled, persistent=False)


def clean_latents(
    base: BaseModel, batch: Batch, draws: RowDraws, *, augment: DataConfig | None
) -> Tensor:
    """x_0 as the network takes it, (B, C, h, w), a draw from the posterior for each row.

    augment: how pictures are changed first; None leaves them. Encodings cannot be: theirs is one
    of their variants.
    """
    if "mean" in batch:
        posterior = Posterior(batch["mean"], batch["log_variance"])
    else:
        pictures = to_unit_range(batch["image"])
        if augment is not None:
            pictures = augmented(pictures, draws, augment)
        posterior = encode_picture(base.vae, pictures)
    noise = draws.normal("posterior", posterior.mean.shape[1:])
    return to_network(base.vae_config, posterior.sample(noise))


def picture_size(batch: Batch) -> tuple[int, int]:
    """Height and width in pixels."""
    if "size" in batch:
        return batch["size"]
    height, width = batch["image"].shape[-2:]
    return height, width


def cached_text(
    batch: Batch, dropped: Tensor, no_text: CachedNoText, dtype: torch.dtype
) -> TextEmbedding:
    """The batch's embeddings, and for rows that are dropped, bool (B,), that of no caption.

    dtype: of the base, which its own text encoders would give.
    """

    def chosen(values: Tensor, none: Tensor) -> Tensor:
        lost = dropped.view(-1, *[1] * (values.dim() - 1))
        return torch.where(lost, none, values).to(dtype)

    pooled = batch.get("pooled")
    return TextEmbedding(
        chosen(batch["sequence"], no_text.sequence),
        None if pooled is None else chosen(pooled, no_text.pooled),
    )
