"""FLUX.1: a transformer over packed latents, CLIP's pooled text and T5's tokens.

Four latents, two by two, are one token; positions travel as ids (Black Forest Labs 2024).
FLUX.1-dev was distilled to take the guidance as an input, FLUX.1-schnell was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darkroom.models.families.family import Conditioning, Family, TextEmbedding
from darkroom.models.families.sd3 import ATTENTION, FEED_FORWARD

if TYPE_CHECKING:
    from torch import Tensor

MAX_TIMESTEP = 1000
"""diffusers' pipelines count time to it, FLUX's network to 1."""
SINGLE_BLOCKS = r"single_transformer_blocks\.\d+\.(proj_mlp|proj_out)"


def _encode_text(pipeline: Any, captions: Sequence[str]) -> TextEmbedding:
    texts = list(captions)
    sequence, pooled, _ = pipeline.encode_prompt(
        texts, texts, device=pipeline.text_encoder_2.device
    )
    return TextEmbedding(sequence, pooled)


def _forward(network: Any, x_BCHW: Tensor, t_B: Tensor, given: Conditioning) -> Tensor:
    import torch
    from diffusers import FluxPipeline

    rows, _, height, width = x_BCHW.shape
    sequence = given.text.sequence
    guidance = None
    if network.config.guidance_embeds:
        guidance = torch.as_tensor(given.guidance, dtype=torch.float32, device=x_BCHW.device)
        guidance = guidance.expand(rows)
    packed = network(
        hidden_states=pack(x_BCHW),
        timestep=t_B / MAX_TIMESTEP,
        guidance=guidance,
        pooled_projections=given.text.pooled,
        encoder_hidden_states=sequence,
        txt_ids=torch.zeros(sequence.shape[1], 3, device=x_BCHW.device, dtype=sequence.dtype),
        img_ids=FluxPipeline._prepare_latent_image_ids(  # noqa: SLF001 - as its own trainers do
            rows, height // 2, width // 2, x_BCHW.device, x_BCHW.dtype
        ),
    ).sample
    return unpack(packed, height, width)


def pack(x_BCHW: Tensor) -> Tensor:
    """Two by two latents as one token: (B, H/2 * W/2, 4 C)."""
    rows, channels, height, width = x_BCHW.shape
    parts = x_BCHW.reshape(rows, channels, height // 2, 2, width // 2, 2)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(rows, height // 2 * (width // 2), 4 * channels)


def unpack(tokens_BTC: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`: (B, C, height, width)."""
    rows, _, channels = tokens_BTC.shape
    parts = tokens_BTC.reshape(rows, height // 2, width // 2, channels // 4, 2, 2)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(rows, channels // 4, height, width)


FLUX = Family(
    name="flux",
    title="FLUX.1",
    pipelines=("FluxPipeline",),
    pipeline="FluxPipeline",
    network="transformer",
    trainable_text_encoders=("text_encoder",),
    objective="flow",
    patch=2,
    lora_attention=ATTENTION,
    lora_all=f"{ATTENTION}|{FEED_FORWARD}|{SINGLE_BLOCKS}",
    repeated_blocks=("FluxTransformerBlock", "FluxSingleTransformerBlock"),
    encode_text=_encode_text,
    forward=_forward,
)
