"""The LightningModule of `finetune`: a base model, of which adapters or the network train.

The VAE is frozen always. Noise, noise level, VAE sample, caption dropout and changes of pictures
are drawn for each row (`training/draws.py`). The base stays in evaluation mode: its dropout is no
part of it.

Legend: B rows of the micro-batch, C h w of latents, H W of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from darkroom.jobs.artifacts.latents import Text
from darkroom.jobs.finetune.adapters import make_trainable, trained_components
from darkroom.jobs.finetune.caption_order import in_another_order
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.encodings import (
    CachedNoText,
    cached_text,
    clean_latents,
    picture_size,
)
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.finetune.losses import PRIOR, Losses, with_prior
from darkroom.jobs.finetune.noising import objective_of
from darkroom.jobs.finetune.pictures import draw_pictures
from darkroom.jobs.finetune.prior import PriorRows
from darkroom.jobs.training.config import DataConfig
from darkroom.jobs.training.draws import RowDraws
from darkroom.jobs.training.module import ParameterGroup, TrainedModule
from darkroom.jobs.training.picture_log import DrawnPicture
from darkroom.jobs.training.precision import autocast
from darkroom.jobs.training.training_stream import Batch
from darkroom.models.families.base import BaseModel
from darkroom.models.families.family import TEXT_BLOCKS, Conditioning, Frame, TextEmbedding

_ADVERSARY = "adversary"


class FinetuneModule(TrainedModule):
    """A base model whose network, or adapters in it, learn to undo noise in latents."""

    def __init__(
        self,
        config: FinetuneConfig,
        base: BaseModel,
        *,
        no_text: Text | None = None,
        features: nn.Module | None = None,
        prior: PriorRows | None = None,
        picture_size: tuple[int, int] | None = None,
    ) -> None:
        """no_text: what stands for no caption among cached embeddings; None where captions are
        encoded on the way. features: the perceptual term's network. prior: rows of the class, that
        come with each batch. picture_size: height and width of validation pictures."""
        super().__init__(config)
        self.no_text = None if no_text is None else CachedNoText(no_text)
        self.config = config
        self.base = base
        # Under the names of their components, which checkpoints and files then carry.
        for name, component in _modules(base).items():
            self.add_module(name, component)
        self.objective = objective_of(config.objective, base)
        self._trained = {
            name: make_trainable(config, base, name, component)
            for name, component in trained_components(config, base).items()
        }
        self._prepare_network(base.network)
        # Last, so that the discriminator's weights change no adapter's.
        self.losses = Losses(
            config.losses, base=base,
            features=features,
        )  # fmt: skip
        self._prior = prior
        self._picture_size = picture_size

    def _prepare_network(self, network: Any) -> None:
        compute = self.config.compute
        if compute.channels_last and self.base.family.network == "unet":
            network.to(memory_format=torch.channels_last)
        if self.config.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        if compute.compile:
            for part in network.modules():
                if type(part).__name__ in self.base.family.repeated_blocks:
                    part.compile()  # in place: names stay

    def parameter_groups(self) -> list[ParameterGroup]:
        """The network's, and the text encoders' where they train."""
        network = self.base.family.network
        rate = self.config.optimizer.learning_rate
        groups = [ParameterGroup(network, self._trained[network], rate)]
        encoders = [
            each for name, some in self._trained.items() if name != network for each in some
        ]
        if self.config.text_encoder is not None:
            rate = self.config.text_encoder.learning_rate
            groups.append(ParameterGroup("text_encoder", encoders, rate))
        return groups

    def sharded_networks(self) -> dict[nn.Module, Sequence[str]]:
        """The network and the text encoders; the VAE is small, and called by its parts."""
        base = self.base
        networks: dict[nn.Module, Sequence[str]] = {base.network: base.family.repeated_blocks}
        return networks | dict.fromkeys(base.text_encoders.values(), TEXT_BLOCKS)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Training mode only for a network that trains in full."""
        super().train(mode)
        for name in _modules(self.base):
            module = getattr(self, name)
            module.train(mode and self.config.method == "full" and name in self._trained)
        return self

    def training_losses(self, batch: Batch) -> Tensor:
        """Per-row loss (B,)."""
        both = batch if self._prior is None else self._prior.with_prior(batch)
        draws = self.draws(both)
        if self.config.caption_shuffle is not None:
            captions = in_another_order(both["caption"], draws, self.config.caption_shuffle)
            both = {**both, "caption": captions}
        dropped = draws.happens("caption_dropout", self.config.objective.caption_dropout)
        estimate = self._estimate(both, draws, augment=self.config.data, dropped=dropped)
        total, values = self.losses.training(estimate, both)
        if (prior := self.config.losses.prior_preservation) is not None:
            total, values = with_prior(total, values, weight=prior.weight)
        self.note_terms(values)
        return total

    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:
        """Per-row loss (B,), always with the same noise and noise level for a row."""
        never = torch.zeros_like(batch["row"], dtype=torch.bool)
        estimate = self._estimate(batch, self.draws(batch), augment=None, dropped=never)
        return self.losses.validation(estimate, batch)

    def _estimate(
        self, batch: Batch, draws: RowDraws, *, augment: DataConfig | None, dropped: Tensor
    ) -> Estimate:
        x0 = clean_latents(self.base, batch, draws, augment=augment)
        if self.config.compute.channels_last:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        with autocast(self.config.compute.precision, x0.device):
            given = Conditioning(
                self._embedding(batch, dropped),
                Frame.whole(*picture_size(batch)),
                guidance=self.config.objective.guidance,
            )

            def predict(x_t: Tensor, t: Tensor) -> Tensor:
                return self.base.family.forward(self.base.network, x_t, t, given).float()

            return self.objective.estimate(predict, x0, draws)

    def draws_pictures_at(self, step: int, *, last: bool) -> bool:
        """Before the first step, at their interval, and at the end."""
        config = self.config.validation
        if config.pictures is None:
            return False
        return last or step % (config.pictures.every_steps or config.every_steps) == 0

    def draw_pictures(self) -> list[DrawnPicture]:
        """The config's prompts and seeds."""
        pictures = self.config.validation.pictures
        if pictures is None or self._picture_size is None:
            return []
        with autocast(self.config.compute.precision, self.device):
            return draw_pictures(self.base, pictures, self._picture_size)

    def on_fit_start(self) -> None:
        """As every module, with the loss's own networks."""
        self.losses.to(self.device)  # before what it learns is brought from rank 0
        super().on_fit_start()

    def term_names(self) -> list[str]:
        """The loss's, and the prior rows' where there are some."""
        return [*self.losses.names, *([] if self._prior is None else [PRIOR])]

    def own_parameters(self) -> list[nn.Parameter]:
        """The discriminator's."""
        return [] if self.losses.adversary is None else self.losses.adversary.parameters

    def on_step_taken(self) -> None:
        """The discriminator steps at once with the network."""
        if self.losses.adversary is not None:
            self.losses.adversary.step(self.config.optimizer.max_grad_norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As every module, with the discriminator and its optimizer."""
        super().on_save_checkpoint(checkpoint)
        if self.losses.adversary is not None:
            checkpoint[_ADVERSARY] = self.losses.adversary.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it too; a start from a run without one (`init_from`) begins with a new one."""
        super().on_load_checkpoint(checkpoint)
        if self.losses.adversary is not None and _ADVERSARY in checkpoint:
            self.losses.adversary.load_state_dict(checkpoint[_ADVERSARY])

    def _embedding(self, batch: Batch, dropped: Tensor) -> TextEmbedding:
        if self.no_text is None:
            return self._text(batch["caption"], dropped)
        return cached_text(batch, dropped, self.no_text, self.base.network.dtype)

    def _text(self, captions: Sequence[str | None], dropped: Tensor) -> TextEmbedding:
        """The captions' embedding; of those that are dropped, what stands for no text."""
        left_out = dropped.tolist()
        to_zeros = self.base.drops_text_to_zeros
        texts = [
            "" if caption is None or (out and not to_zeros) else caption
            for caption, out in zip(captions, left_out, strict=True)
        ]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_text):
            text = self.base.encode_text(texts)
        if not to_zeros:
            return text
        kept = (~dropped).to(text.sequence.dtype)
        pooled = None if text.pooled is None else text.pooled * kept[:, None]
        return TextEmbedding(text.sequence * kept[:, None, None], pooled)

    @property
    def _trains_text(self) -> bool:
        return self.config.text_encoder is not None


def _modules(base: BaseModel) -> dict[str, nn.Module]:
    """All networks of the base that are loaded, by the names of their components."""
    vae = {} if base.vae is None else {"vae": base.vae}
    return {base.family.network: base.network, **base.text_encoders, **vae}
