"""Stable Diffusion XL: two CLIP text encoders side by side, and the picture's size as an input.

Source: Podell et al. 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darkroom.models.families.family import Conditioning, Family, Frame, TextEmbedding
from darkroom.models.families.stable_diffusion import UNET_ALL, UNET_ATTENTION, UNET_BLOCKS

if TYPE_CHECKING:
    from torch import Tensor


def _encode_text(pipeline: Any, captions: Sequence[str]) -> TextEmbedding:
    sequence, _, pooled, _ = pipeline.encode_prompt(
        list(captions), device=pipeline.text_encoder_2.device, do_classifier_free_guidance=False
    )
    return TextEmbedding(sequence, pooled)


def _forward(network: Any, x_BCHW: Tensor, t_B: Tensor, given: Conditioning) -> Tensor:
    added = {"text_embeds": given.text.pooled, "time_ids": time_ids(given.frame, x_BCHW)}
    prediction: Tensor = network(
        x_BCHW, t_B, encoder_hidden_states=given.text.sequence, added_cond_kwargs=added
    ).sample
    return prediction


def time_ids(frame: Frame, like: Tensor) -> Tensor:
    """Original size, crop and target size for each row of `like`, (B, 6)."""
    import torch

    values = [*frame.original, *frame.crop, *frame.target]
    return torch.tensor([values], dtype=like.dtype, device=like.device).expand(len(like), -1)


SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    pipelines=("StableDiffusionXLPipeline",),
    pipeline="StableDiffusionXLPipeline",
    network="unet",
    trainable_text_encoders=("text_encoder", "text_encoder_2"),
    unread_text_layers={"text_encoder": 1},  # its penultimate layer is read, and nothing else
    objective="diffusion",
    patch=1,
    lora_attention=UNET_ATTENTION,
    lora_all=UNET_ALL,
    repeated_blocks=UNET_BLOCKS,
    encode_text=_encode_text,
    forward=_forward,
)
