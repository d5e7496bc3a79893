"""Validation pictures: fixed prompts and seeds, drawn by the family's own pipeline.

The caller has put the averaged weights in place. One picture at a time, so that drawing takes
little memory beside training.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from darkroom.jobs.finetune.picture_config import PicturesConfig
from darkroom.jobs.training.picture_log import DrawnPicture
from darkroom.models.families.base import BaseModel
from darkroom.models.families.flux import unpack
from darkroom.models.families.latents import decode_latents
from darkroom.pages.sheet import as_picture, grey_levels, png_bytes


@torch.no_grad()
def draw_pictures(
    base: BaseModel, config: PicturesConfig, size: tuple[int, int]
) -> list[DrawnPicture]:
    """Each prompt with each seed, of this height and width in pixels."""
    pipeline = base.pipeline
    scheduler = pipeline.scheduler
    pipeline.scheduler = copy.deepcopy(scheduler)  # drawing leaves its steps in it
    try:
        return [
            DrawnPicture(
                prompt, seed, _png(base, _drawn(pipeline, config, prompt, seed, size), size)
            )
            for prompt in config.prompts
            for seed in config.seeds
        ]
    finally:
        pipeline.scheduler = scheduler


def _drawn(
    pipeline: Any, config: PicturesConfig, prompt: str, seed: int, size: tuple[int, int]
) -> Tensor:
    """The latents, as the pipeline holds them before it decodes."""
    height, width = size
    latents: Tensor = pipeline(
        prompt=prompt,
        num_inference_steps=config.num_steps,
        guidance_scale=config.guidance_scale,
        height=height,
        width=width,
        # On the CPU whatever the device: the same noise on every machine.
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="latent",
    ).images
    return latents


def _png(base: BaseModel, latents: Tensor, size: tuple[int, int]) -> bytes:
    if latents.ndim == 3:  # tokens, as FLUX's pipeline has them
        factor = 2 ** (len(base.vae.config.block_out_channels) - 1)
        latents = unpack(latents, size[0] // factor, size[1] // factor)
    # Not by the pipeline: the VAE keeps its own precision.
    (picture,) = decode_latents(base.vae, latents.float()).float().cpu()
    return png_bytes(as_picture(grey_levels(torch.nan_to_num(picture).numpy())))
