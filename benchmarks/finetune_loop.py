"""Fine-tuning as the libraries' own examples write it: diffusers and peft, no Darkroom around.

What `examples/text_to_image/train_text_to_image_lora.py` of diffusers does in a step, and with
`method: full` `train_text_to_image.py`: encode pictures and captions, add noise, predict, mean
squared error; `by_hand.py` has the rest. Pictures are decoded once and lie in memory.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from benchmarks.by_hand import LoopByHand
from diffusers import DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image
from torch import Tensor

from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.storage import Artifact

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True)
class Captioned:
    """The train split: images uint8 (N, 3, H, W) and their captions."""

    images: Tensor
    captions: Sequence[str]

    @classmethod
    def of(cls, dataset: Artifact) -> Captioned:
        """Every training picture, decoded."""
        images, captions = [], []
        for entry in dataset.entries("data/train/"):
            for row in dataset.read_table(entry.name).to_pylist():
                with Image.open(io.BytesIO(row["image"])) as image:
                    images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
                captions.append(row["caption"] or "")
        return cls(torch.from_numpy(np.stack(images)), captions)


class Loop(LoopByHand):
    """Networks, optimizer and average of one rank."""

    def __init__(
        self, config: FinetuneConfig, rows: Captioned, *, rank: int = 0, world: int = 1
    ) -> None:
        self._config, self._rows, self._rank, self._world = config, rows, rank, world
        torch.manual_seed(config.seed)
        self._base: Any = StableDiffusionPipeline.from_pretrained(
            config.base, local_files_only=True
        )
        for network in (self._base.vae, self._base.text_encoder, self._base.unet):
            network.requires_grad_(config.method == "full" and network is self._base.unet)
        if config.method == "lora":
            rank = config.lora.rank
            alpha: Any = config.lora.alpha or rank  # peft takes any number
            adapter = LoraConfig(r=rank, lora_alpha=alpha, target_modules=ATTENTION)
            self._base.unet.add_adapter(adapter)
        self._base.unet.train()
        unet = self._base.unet
        super().__init__(config, unet, [each for each in unet.parameters() if each.requires_grad])
        self._noise = DDPMScheduler.from_config(self._base.scheduler.config)
        self._shuffle = torch.Generator().manual_seed(config.seed)
        self._order: list[int] = []
        # The same order on all ranks, other noise on each.
        torch.manual_seed(config.seed + rank)

    def _loss(self) -> Tensor:
        base = self._base
        pixels, token_ids = self._batch()
        latents = base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, self._noise.config.num_train_timesteps, (len(latents),))
        noisy = self._noise.add_noise(latents, noise, timesteps)
        text = base.text_encoder(token_ids, return_dict=False)[0]
        predicted = self._model(noisy, timesteps, text, return_dict=False)[0]
        return F.mse_loss(predicted.float(), noise.float(), reduction="mean")

    def _batch(self) -> tuple[Tensor, Tensor]:
        """This rank's share of the next batch: images in [-1, 1], tokens."""
        size = self._config.batch_size
        if len(self._order) < size:
            self._order += torch.randperm(len(self._rows.images), generator=self._shuffle).tolist()
        chosen, self._order = self._order[:size][self._rank :: self._world], self._order[size:]
        tokenizer = self._base.tokenizer
        tokens = tokenizer(
            [self._rows.captions[row] for row in chosen], max_length=tokenizer.model_max_length,
            padding="max_length", truncation=True, return_tensors="pt",
        )  # fmt: skip
        return self._rows.images[chosen].float().div_(127.5).sub_(1.0), tokens.input_ids
