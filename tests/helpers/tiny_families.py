"""A tiny model of each family with random weights, as plain diffusers folders.

Real architectures, tokenizers and pipelines, made from configs: what they draw means nothing,
but depends on the prompt, the seed and every setting, in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CAPTIONS = (
    "a photo of a cat",
    "a photo of a cup of coffee",
    "an astronaut in a suit",
    "the digit seven, white on black",
    "a rocket at launch",
)
WIDTH = 32
"""Of every text encoder."""
PIXELS = 32
"""Height and width of what they draw."""


def save_tiny(family: str, folder: Path, *, seed: int = 0, **options: Any) -> Path:
    """The family's tiny model in `folder`; returns it. options: of its function below."""
    torch.manual_seed(seed)
    make: Callable[..., Any] = {"sd": _sd, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}[family]
    make(**options).save_pretrained(folder)
    return folder


def clip_tokenizer(captions: Iterable[str] = CAPTIONS) -> CLIPTokenizer:
    """CLIP's byte-level BPE, trained on the captions; any text can be spelt with it."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    plain = CLIPTokenizer(vocab={start: 0, end: 1}, merges=[])
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=end))
    trained.normalizer = plain.backend_tokenizer.normalizer
    trained.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=[start, end], end_of_word_suffix="</w>",
        initial_alphabet=alphabet, show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator(list(captions) * 20, trainer)
    found = json.loads(trained.to_str())["model"]
    for byte in alphabet:
        # Without them an unseen last letter becomes the end of the text.
        found["vocab"].setdefault(f"{byte}</w>", len(found["vocab"]))
    merges: Any = [tuple(pair) for pair in found["merges"]]
    return CLIPTokenizer(
        vocab=found["vocab"],
        merges=merges,
        model_max_length=77,
    )


def t5_tokenizer() -> T5Tokenizer:
    """T5's unigrams: letters, and a few words that are likelier."""
    letters = [chr(code) for code in range(33, 127)]
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(letter, -5.0) for letter in letters]
    pieces += [(f"▁{word}", -4.0) for word in words]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=77)


def _clip(tokenizer: CLIPTokenizer, *, projection: bool = False, layers: int = 2) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH,
        num_hidden_layers=layers, num_attention_heads=4, max_position_embeddings=77,
        projection_dim=WIDTH, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model: Any = CLIPTextModelWithProjection if projection else CLIPTextModel
    return model(config).eval()


def _t5(tokenizer: T5Tokenizer, width: int = WIDTH) -> Any:
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=2 * WIDTH, num_layers=2,
        num_heads=4, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model: Any = T5EncoderModel(config)
    return model.eval()


def _vae(*, latent_channels: int, shift: float | None = None, scale: float = 0.5) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, latent_channels=latent_channels,
        norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, sample_size=PIXELS, shift_factor=shift,
        scaling_factor=scale,
    ).eval()  # fmt: skip


def _unet(width: int, **extra: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=PIXELS // 2, block_out_channels=(16, 32), layers_per_block=1,
        norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=width,
        attention_head_dim=2, **extra,
    ).eval()  # fmt: skip


def _noise_scheduler(prediction_type: str = "epsilon") -> Any:
    return diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        steps_offset=1, prediction_type=prediction_type,
    )  # fmt: skip


def _sd(*, prediction_type: str = "epsilon") -> Any:
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionPipeline(
        vae=_vae(latent_channels=4), text_encoder=_clip(tokenizer), tokenizer=tokenizer,
        unet=_unet(WIDTH), scheduler=_noise_scheduler(prediction_type), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl() -> Any:
    first, second = clip_tokenizer(), clip_tokenizer()
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(latent_channels=4), text_encoder=_clip(first), tokenizer=first,
        text_encoder_2=_clip(second, projection=True), tokenizer_2=second,
        unet=_unet(
            2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH, use_linear_projection=True,
        ),
        scheduler=_noise_scheduler(), force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip


def _sd3() -> Any:
    first, second, third = clip_tokenizer(), clip_tokenizer(), t5_tokenizer()
    return diffusers.StableDiffusion3Pipeline(
        vae=_vae(latent_channels=4, shift=0.06, scale=1.5),
        text_encoder=_clip(first, projection=True), tokenizer=first,
        text_encoder_2=_clip(second, projection=True), tokenizer_2=second,
        text_encoder_3=_t5(third, 2 * WIDTH), tokenizer_3=third,
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=PIXELS // 2, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
            attention_head_dim=8, num_attention_heads=4, caption_projection_dim=32,
            joint_attention_dim=WIDTH * 2, pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16,
        ).eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def _flux(*, guidance: bool = True) -> Any:
    first, second = clip_tokenizer(), t5_tokenizer()
    return diffusers.FluxPipeline(
        vae=_vae(latent_channels=4, shift=0.1, scale=0.4), text_encoder=_clip(first),
        tokenizer=first, text_encoder_2=_t5(second), tokenizer_2=second,
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH, guidance_embeds=guidance, axes_dims_rope=(4, 4, 8),
        ).eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
    )  # fmt: skip
