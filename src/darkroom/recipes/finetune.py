r"""Fine-tuning of text-to-image models, by LoRA or in full.

    darkroom finetune --recipe sd15_lora --base s3://bucket/models/sd15 \
      --input s3://bucket/captioned --output s3://bucket/lora

Each recipe names a base of the hub and what a download of it is: its size and its licence stand in
its description. `--base` takes a folder or a mirror of yours instead, which needs no network.
The base of `tiny_sd` is the folder that examples/finetune.sh makes, for two CPU cores.
The others are sized for one GPU and have been tried on tiny models on CPUs only.
"""

from __future__ import annotations

from functools import partial

from darkroom.jobs.finetune.config import (
    FinetuneConfig,
    LatentObjectiveConfig,
    LoraConfig,
)
from darkroom.jobs.finetune.picture_config import FinetuneValidationConfig
from darkroom.jobs.training.config import (
    CheckpointConfig,
    ComputeConfig,
    EmaConfig,
    LrScheduleConfig,
    OptimizerConfig,
)
from darkroom.recipes.recipe import Recipe

_GPU = ComputeConfig(precision="bfloat16", channels_last=True, deterministic=False)

_LORA = partial(
    FinetuneConfig,
    method="lora",
    max_steps=2000,
    batch_size=16,
    base_precision="bfloat16",
    compute=_GPU,
    optimizer=OptimizerConfig(learning_rate=1e-4),
    lr_schedule=LrScheduleConfig(kind="cosine", warmup_steps=100),
    ema=EmaConfig(decay=0.995),
    validation=FinetuneValidationConfig(every_steps=250),
    checkpoint=CheckpointConfig(every_steps=250),
)
_LARGE = partial(_LORA, batch_size=8, gradient_checkpointing=True)


def tiny_sd() -> Recipe:
    """All of a tiny Stable Diffusion's U-Net, at 32 pixels."""
    return Recipe(
        name="tiny_sd",
        description="finetune: a tiny Stable Diffusion in full, that examples/finetune.sh makes",
        configs=(
            partial(
                FinetuneConfig,
                base=".darkroom/tiny_sd",
                method="full",
                max_steps=250,
                batch_size=16,
                optimizer=OptimizerConfig(learning_rate=2e-3),
                lr_schedule=LrScheduleConfig(kind="cosine", warmup_steps=10),
                ema=EmaConfig(decay=0.95),
                validation=FinetuneValidationConfig(every_steps=50, num_images=64),
                checkpoint=CheckpointConfig(every_steps=50, asynchronous=False),
                log_every_steps=10,
            ),
        ),
    )


def sd15_lora() -> Recipe:
    """LoRA on attention, 512 pixels."""
    return Recipe(
        name="sd15_lora",
        description="finetune: LoRA of Stable Diffusion 1.5 (4 GB, CreativeML OpenRAIL-M)",
        configs=(
            partial(
                _LORA,
                base="stable-diffusion-v1-5/stable-diffusion-v1-5",
                objective=LatentObjectiveConfig(min_snr_gamma=5.0),
            ),
        ),
    )


def sd15_full() -> Recipe:
    """All of the U-Net."""
    return Recipe(
        name="sd15_full",
        description="finetune: Stable Diffusion 1.5 in full (4 GB, CreativeML OpenRAIL-M)",
        configs=(
            partial(
                _LORA,
                base="stable-diffusion-v1-5/stable-diffusion-v1-5",
                method="full",
                base_precision="float32",
                max_steps=10_000,
                batch_size=64,
                optimizer=OptimizerConfig(learning_rate=1e-5),
                objective=LatentObjectiveConfig(min_snr_gamma=5.0),
                ema=EmaConfig(decay=0.9999),
            ),
        ),
    )


def sdxl_lora() -> Recipe:
    """LoRA on attention, 1024 pixels."""
    return Recipe(
        name="sdxl_lora",
        description="finetune: LoRA of Stable Diffusion XL 1.0 (7 to 14 GB, OpenRAIL++-M)",
        configs=(partial(_LARGE, base="stabilityai/stable-diffusion-xl-base-1.0"),),
    )


def sd35_lora() -> Recipe:
    """LoRA on all layers of the transformer, 1024 pixels."""
    return Recipe(
        name="sd35_lora",
        description="finetune: LoRA of Stable Diffusion 3.5 Medium (17 GB, gated, Stability "
        "Community)",
        configs=(
            partial(
                _LARGE,
                base="stabilityai/stable-diffusion-3.5-medium",
                lora=LoraConfig(rank=16, targets="all"),
            ),
        ),
    )


def flux_lora() -> Recipe:
    """LoRA on attention, 1024 pixels. No caption is left out: it was distilled not to need that."""
    return Recipe(
        name="flux_lora",
        description="finetune: LoRA of FLUX.1-dev (34 GB, gated, non-commercial)",
        configs=(
            partial(
                _LARGE,
                base="black-forest-labs/FLUX.1-dev",
                batch_size=4,
                objective=LatentObjectiveConfig(caption_dropout=0.0),
            ),
        ),
    )
