"""Public sets of photographs, class-conditional at 64x64: ten classes each, sized for one GPU.

    darkroom prepare --recipe food101_lite --output s3://bucket/food101/data

The public copies are the ones that Ray's own examples read; `--input` names a copy of yours.
"""

from __future__ import annotations

from functools import partial

from darkroom.diffusion.config import ScheduleConfig
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.pictures.config import EncodingConfig
from darkroom.jobs.prepare.config import ImageFolderSource, PrepareConfig, SplitConfig
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.train.config import ObjectiveConfig, TrainConfig, UNetConfig
from darkroom.jobs.training.config import (
    CheckpointConfig,
    ComputeConfig,
    DataConfig,
    EmaConfig,
    LrScheduleConfig,
    OptimizerConfig,
    ValidationConfig,
)
from darkroom.recipes.recipe import Recipe

_PREPARE = partial(
    PrepareConfig,
    image_size=(64, 64),
    channels=3,
    encoding=EncodingConfig(format="png"),
    split=SplitConfig(train=0.9, validation=0.05, test=0.05),
)

_TRAIN = partial(
    TrainConfig,
    max_steps=200_000,
    batch_size=128,
    schedule=ScheduleConfig(kind="cosine", num_timesteps=1000),
    objective=ObjectiveConfig(prediction_type="v_prediction", min_snr_gamma=5.0, label_dropout=0.1),
    unet=UNetConfig(
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        attention_resolutions=(16, 8),
        attention_head_dim=64,
        norm_num_groups=32,
        dropout=0.1,
    ),
    data=DataConfig(horizontal_flip=True),
    optimizer=OptimizerConfig(learning_rate=1e-4),
    lr_schedule=LrScheduleConfig(kind="constant", warmup_steps=2000),
    ema=EmaConfig(decay=0.9999),
    validation=ValidationConfig(every_steps=5000),
    checkpoint=CheckpointConfig(every_steps=5000),
    compute=ComputeConfig(precision="bfloat16", channels_last=True),
)

_SAMPLE = partial(
    SampleConfig,
    num_images=1000,
    sampler="dpm-solver++",
    num_steps=25,
    guidance_scale=2.0,
    strip=10,
    piece_rows=100,
    batch_size=100,
)


def food101_lite() -> Recipe:
    """Ten dishes of Food-101 (Bossard et al. 2014), 150 photographs each."""
    uri = "s3://anonymous@air-example-data/food-101-tiny/train"
    return photographs_recipe(
        "food101_lite", "ten dishes of Food-101, 64x64, class-conditional", uri
    )


def photographs_recipe(name: str, description: str, uri: str) -> Recipe:
    """Configs to train on a public folder of photographs, and to draw."""
    return Recipe(
        name=name,
        description=description,
        configs=(
            partial(_PREPARE, source=ImageFolderSource(uri=uri)),
            _TRAIN,
            _SAMPLE,
            partial(EvaluateConfig),
            partial(ReportConfig, title=name.replace("_", " ").title()),
        ),
    )
