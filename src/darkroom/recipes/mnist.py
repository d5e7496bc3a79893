"""The two public data sets of 28x28 grey pictures in MNIST's format, ten classes each.

    darkroom prepare --recipe mnist --output s3://bucket/mnist/data
    darkroom prepare --recipe mnist --input s3://mirror/mnist --output ...     from a copy of yours

The U-Net sees 28, 14 and 7 pixels. Settings are sized for one GPU; two CPU cores take hours.
"""

from __future__ import annotations

from typing import Any

from darkroom.recipes.recipe import Recipe, Settings

_TRAIN: Settings = {
    "max_steps": 30_000,
    "batch_size": 256,
    "schedule": {"kind": "cosine", "num_timesteps": 1000},
    "objective": {"prediction_type": "epsilon", "label_dropout": 0.1},
    "unet": {
        "block_out_channels": [64, 128, 128],
        "layers_per_block": 2,
        "attention_resolutions": [7],
        "attention_head_dim": 32,
        "norm_num_groups": 32,
        "dropout": 0.1,
    },
    "optimizer": {"learning_rate": 5e-4},
    "lr_schedule": {"kind": "cosine", "warmup_steps": 500},
    "ema": {"decay": 0.999},
    "validation": {"every_steps": 1000},
    "checkpoint": {"every_steps": 1000},
}

_SAMPLE: Settings = {
    "num_images": 1000,
    "sampler": "ddim",
    "num_steps": 50,
    "guidance_scale": 1.5,
    "strip": 10,
    "batch_size": 250,
}


def mnist() -> Recipe:
    """Handwritten digits (LeCun, Cortes & Burges), 60,000 to train and 10,000 to test."""
    source = {"kind": "idx", "uri": "s3://anonymous@ossci-datasets/mnist"}
    return _recipe("mnist", "handwritten digits of MNIST, 28x28, class-conditional", source)


def fashion_mnist() -> Recipe:
    """Articles of clothing (Xiao, Rasul & Vollgraf 2017), 60,000 to train and 10,000 to test."""
    source = {
        "kind": "idx",
        "uri": "s3://anonymous@fashion-mnist",
        "classes": [
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ],
    }
    description = "articles of clothing of Fashion-MNIST, 28x28, class-conditional"
    return _recipe("fashion_mnist", description, source)


def _recipe(name: str, description: str, source: dict[str, Any]) -> Recipe:
    prepare: Settings = {"source": source, "image_size": [28, 28], "channels": 1}
    return Recipe(
        name=name,
        description=description,
        configs={
            "prepare": prepare,
            "train": _TRAIN,
            "sample": _SAMPLE,
            "evaluate": {},
            "report": {"title": name.replace("_", "-").title()},
        },
    )
