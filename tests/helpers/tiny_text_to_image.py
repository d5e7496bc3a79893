"""A tiny Stable Diffusion with random weights, as a plain diffusers folder, and a small tokenizer.

Everything is what diffusers and transformers make of a config: a real pipeline, text encoder, VAE
and scheduler, with 16x16 pictures in milliseconds. What it draws means nothing, but depends on
the prompt, the seed and every setting.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_TOKENS = 77
"""As many as CLIP's own text encoder reads, start and end included."""


def save_tiny_stable_diffusion(
    folder: Path, *, seed: int = 0, ancestral: bool = False, max_tokens: int = MAX_TOKENS
) -> Path:
    """A Stable Diffusion of 0.1 M weights in `folder`; returns it.

    ancestral: a scheduler that draws fresh noise at each step.
    """
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer(folder.with_name(f"{folder.name}-tokenizer"), max_tokens)
    scheduler = (
        EulerAncestralDiscreteScheduler(steps_offset=1)
        if ancestral
        else DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            sample_size=16,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24,
                num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=max_tokens,
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16, attention_head_dim=4,
        ),
        scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    for name, weight in pipeline.unet.named_parameters():
        if "attn2.to_v" in name or "attn2.to_out.0.weight" in name:
            weight.data *= 8  # untrained, it would hardly look at the text
    pipeline.save_pretrained(folder)
    return folder


def tiny_tokenizer(folder: Path, max_tokens: int = MAX_TOKENS) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer without merges: every letter is a token."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=max_tokens
    )
