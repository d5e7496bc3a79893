"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a U-Net, epsilon or v.

Source: Rombach et al. 2022; which of the two is predicted stands in the scheduler's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from darkroom.models.families.family import Conditioning, Family, TextEmbedding

if TYPE_CHECKING:
    from torch import Tensor

UNET_ATTENTION = r".*\.(to_q|to_k|to_v|to_out\.0)"
UNET_ALL = (
    r".*\.(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2"
    r"|conv1|conv2|conv_shortcut|time_emb_proj|conv)"
)
UNET_BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""Attention and residual blocks: 45 and 43 % of an SD 1.5's operations at 512 pixels."""


def _encode_text(pipeline: Any, captions: Sequence[str]) -> TextEmbedding:
    """What the pipeline's `encode_prompt` gives: that reads each caption three times, once to warn
    of what is cut (`prepare` and `cache` count that) and once for words of several vectors."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    texts = list(captions)
    added = tokenizer.added_tokens_encoder
    if any(f"{token}_1" in added for token in added):
        texts = pipeline.maybe_convert_prompt(texts, tokenizer)
    tokens = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
        return_tensors="pt",
    ).to(encoder.device)  # fmt: skip
    is_masked = getattr(encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask if is_masked else None
    sequence: Tensor = encoder(tokens.input_ids, attention_mask=mask)[0]
    return TextEmbedding(sequence.to(encoder.dtype))


def _forward(network: Any, x_BCHW: Tensor, t_B: Tensor, given: Conditioning) -> Tensor:
    prediction: Tensor = network(x_BCHW, t_B, encoder_hidden_states=given.text.sequence).sample
    return prediction


STABLE_DIFFUSION = Family(
    name="sd",
    title="Stable Diffusion",
    pipelines=("StableDiffusionPipeline",),
    pipeline="StableDiffusionPipeline",
    network="unet",
    trainable_text_encoders=("text_encoder",),
    objective="diffusion",
    patch=1,
    lora_attention=UNET_ATTENTION,
    lora_all=UNET_ALL,
    repeated_blocks=UNET_BLOCKS,
    encode_text=_encode_text,
    forward=_forward,
)
