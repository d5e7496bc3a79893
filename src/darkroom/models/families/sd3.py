"""Stable Diffusion 3 and 3.5: a transformer over pictures and text, two CLIPs and a T5.

Source: Esser et al. 2024. A folder without T5 is allowed: diffusers then puts zeros there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darkroom.models.families.family import Conditioning, Family, TextEmbedding

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = r".*\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
FEED_FORWARD = r".*\.(ff|ff_context)\.net\.(0\.proj|2)"


def _encode_text(pipeline: Any, captions: Sequence[str]) -> TextEmbedding:
    texts = list(captions)
    sequence, _, pooled, _ = pipeline.encode_prompt(
        texts, texts, texts,
        device=pipeline.text_encoder.device, do_classifier_free_guidance=False,
    )  # fmt: skip
    return TextEmbedding(sequence, pooled)


def _forward(network: Any, x_BCHW: Tensor, t_B: Tensor, given: Conditioning) -> Tensor:
    prediction: Tensor = network(
        hidden_states=x_BCHW,
        timestep=t_B,
        encoder_hidden_states=given.text.sequence,
        pooled_projections=given.text.pooled,
    ).sample
    return prediction


SD3 = Family(
    name="sd3",
    title="Stable Diffusion 3",
    pipelines=("StableDiffusion3Pipeline",),
    pipeline="StableDiffusion3Pipeline",
    network="transformer",
    trainable_text_encoders=("text_encoder", "text_encoder_2"),
    objective="flow",
    patch=2,
    lora_attention=ATTENTION,
    lora_all=f"{ATTENTION}|{FEED_FORWARD}",
    repeated_blocks=("JointTransformerBlock",),
    encode_text=_encode_text,
    forward=_forward,
)
