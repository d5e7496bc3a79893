"""A tiny Stable Diffusion for examples/finetune.sh: every part is real, and small.

    python examples/finetune/tiny_base.py PICTURES FOLDER

Its tokenizer and its VAE are trained on PICTURES (half a minute on two CPU cores), its text encoder
and U-Net are random: `darkroom finetune --recipe tiny_sd` teaches the U-Net to draw.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIDE, WIDTH, VAE_STEPS = 32, 64, 150


def main(pictures, folder):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a model gains nothing from a second
    captions = json.loads((pictures / "train" / "captions.json").read_text())
    images = [Image.open(pictures / "train" / "images" / name) for name in captions]
    x = torch.tensor(np.stack([np.asarray(image) for image in images]))
    x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
    tokenizer = make_tokenizer(sorted(set(captions.values())))
    StableDiffusionPipeline(
        vae=make_vae(x), text_encoder=make_text_encoder(tokenizer), tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=SIDE // 2, block_out_channels=(32, 64), layers_per_block=1,
            cross_attention_dim=WIDTH, attention_head_dim=2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        scheduler=DDPMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def make_tokenizer(captions):
    """CLIP's byte-level BPE, trained on the captions."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    plain = CLIPTokenizer(vocab={start: 0, end: 1}, merges=[]).backend_tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=end))
    trained.normalizer, trained.pre_tokenizer = plain.normalizer, plain.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(
        captions * 50,
        trainers.BpeTrainer(
            vocab_size=1000, special_tokens=[start, end], end_of_word_suffix="</w>",
            initial_alphabet=alphabet, show_progress=False,
        ),
    )  # fmt: skip
    found = json.loads(trained.to_str())["model"]
    for byte in alphabet:
        # Without them an unseen last letter becomes the end of the text.
        found["vocab"].setdefault(f"{byte}</w>", len(found["vocab"]))
    return CLIPTokenizer(
        vocab=found["vocab"],
        merges=[tuple(pair) for pair in found["merges"]],
        model_max_length=77,
    )


def make_text_encoder(tokenizer):
    """CLIP's text model with random weights: captions differ, and that is enough here."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
            projection_dim=WIDTH, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def make_vae(x):
    """An autoencoder that halves pictures, trained to give them back."""
    vae = AutoencoderKL(
        block_out_channels=(32, 64), latent_channels=4, sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    for step in range(VAE_STEPS):
        batch = x[torch.randint(len(x), (16,))]
        posterior = vae.encode(batch).latent_dist
        drawn = vae.decode(posterior.sample()).sample
        loss = (drawn - batch).square().mean() + 1e-4 * posterior.kl().mean() / batch[0].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(f"VAE, step {step + 1}: loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        z = vae.encode(x).latent_dist.mean
    vae.register_to_config(scaling_factor=1 / z.std().item())
    return vae.eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
