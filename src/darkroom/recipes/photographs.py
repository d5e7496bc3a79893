"""Public sets of photographs, class-conditional at 64x64: ten classes each, sized for one GPU.

    darkroom prepare --recipe food101_lite --output s3://bucket/food101/data

The public copies are the ones that Ray's own examples read; `--input` names a copy of yours.
"""

from __future__ import annotations

from darkroom.recipes.recipe import Recipe, Settings

_PREPARE: Settings = {
    "image_size": [64, 64],
    "channels": 3,
    "encoding": {"format": "png"},
    "split": {"train": 0.9, "validation": 0.05, "test": 0.05},
}

_TRAIN: Settings = {
    "max_steps": 200_000,
    "batch_size": 128,
    "schedule": {"kind": "cosine", "num_timesteps": 1000},
    "objective": {
        "prediction_type": "v_prediction",
        "min_snr_gamma": 5.0,
        "label_dropout": 0.1,
    },
    "unet": {
        "block_out_channels": [128, 256, 256, 256],
        "layers_per_block": 2,
        "attention_resolutions": [16, 8],
        "attention_head_dim": 64,
        "norm_num_groups": 32,
        "dropout": 0.1,
    },
    "data": {"horizontal_flip": True},
    "optimizer": {"learning_rate": 1e-4},
    "lr_schedule": {"kind": "constant", "warmup_steps": 2000},
    "ema": {"decay": 0.9999},
    "validation": {"every_steps": 5000},
    "checkpoint": {"every_steps": 5000},
    "compute": {"precision": "bfloat16", "channels_last": True},
}

_SAMPLE: Settings = {
    "num_images": 1000,
    "sampler": "dpm-solver++",
    "num_steps": 25,
    "guidance_scale": 2.0,
    "strip": 10,
    "batch_size": 100,
}


def food101_lite() -> Recipe:
    """Ten dishes of Food-101 (Bossard et al. 2014), 150 photographs each."""
    uri = "s3://anonymous@air-example-data/food-101-tiny/train"
    return photographs_recipe(
        "food101_lite", "ten dishes of Food-101, 64x64, class-conditional", uri
    )


def photographs_recipe(name: str, description: str, uri: str) -> Recipe:
    """Settings to train on a public folder of photographs, and to draw."""
    return Recipe(
        name=name,
        description=description,
        configs={
            "prepare": {**_PREPARE, "source": {"kind": "image_folder", "uri": uri}},
            "train": _TRAIN,
            "sample": _SAMPLE,
            "evaluate": {},
            "report": {"title": name.replace("_", " ").title()},
        },
    )
