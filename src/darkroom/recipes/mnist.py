"""The two public data sets of 28x28 grey pictures in MNIST's format, ten classes each.

    darkroom prepare --recipe mnist --output s3://bucket/mnist/data
    darkroom prepare --recipe mnist --input s3://mirror/mnist --output ...     from a copy of yours

The U-Net sees 28, 14 and 7 pixels. Settings are sized for one GPU; two CPU cores take hours.
"""

from __future__ import annotations

from functools import partial

from darkroom.diffusion.config import ScheduleConfig
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.prepare.config import IdxSource, PrepareConfig
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.train.config import ObjectiveConfig, TrainConfig, UNetConfig
from darkroom.jobs.training.config import (
    CheckpointConfig,
    EmaConfig,
    LrScheduleConfig,
    OptimizerConfig,
    ValidationConfig,
)
from darkroom.recipes.recipe import Recipe

_TRAIN = partial(
    TrainConfig,
    max_steps=30_000,
    batch_size=256,
    schedule=ScheduleConfig(kind="cosine", num_timesteps=1000),
    objective=ObjectiveConfig(prediction_type="epsilon", label_dropout=0.1),
    unet=UNetConfig(
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        attention_resolutions=(7,),
        attention_head_dim=32,
        norm_num_groups=32,
        dropout=0.1,
    ),
    optimizer=OptimizerConfig(learning_rate=5e-4),
    lr_schedule=LrScheduleConfig(kind="cosine", warmup_steps=500),
    ema=EmaConfig(decay=0.999),
    validation=ValidationConfig(every_steps=1000),
    checkpoint=CheckpointConfig(every_steps=1000),
)

_SAMPLE = partial(
    SampleConfig,
    num_images=1000,
    sampler="ddim",
    num_steps=50,
    guidance_scale=1.5,
    strip=10,
    piece_rows=125,
    batch_size=125,
)


def mnist() -> Recipe:
    """Handwritten digits (LeCun, Cortes & Burges), 60,000 to train and 10,000 to test."""
    source = IdxSource(uri="s3://anonymous@ossci-datasets/mnist")
    return _recipe("mnist", "handwritten digits of MNIST, 28x28, class-conditional", source)


def fashion_mnist() -> Recipe:
    """Articles of clothing (Xiao, Rasul & Vollgraf 2017), 60,000 to train and 10,000 to test."""
    source = IdxSource(
        uri="s3://anonymous@fashion-mnist",
        classes=(
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
    )
    description = "articles of clothing of Fashion-MNIST, 28x28, class-conditional"
    return _recipe("fashion_mnist", description, source)


def _recipe(name: str, description: str, source: IdxSource) -> Recipe:
    return Recipe(
        name=name,
        description=description,
        configs=(
            partial(PrepareConfig, source=source, image_size=(28, 28), channels=1),
            _TRAIN,
            _SAMPLE,
            partial(EvaluateConfig),
            partial(ReportConfig, title=name.replace("_", "-").title()),
        ),
    )
