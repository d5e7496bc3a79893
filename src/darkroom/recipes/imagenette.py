"""Imagenette: to train on, and labelled with ImageNet's classes, the example of `classify`.

    darkroom prepare --recipe imagenette --output s3://bucket/imagenette/data
    darkroom classify --recipe imagenette --input s3://bucket/imagenette2-320/val \
      --output s3://bucket/predictions

Imagenette's ten folders are WordNet ids (n01440764), which map to labels by themselves, so the run
ends with accuracy and a confusion table. `imagenette` is written for a node with one GPU and 16
CPUs and downloads ResNet-152's published weights (about 230 MB; `--weights URI` takes a copy
instead); `imagenette_cpu` is a small model for a laptop.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from darkroom.jobs.batch.config import WorkerPool
from darkroom.jobs.classify.config import ClassifyConfig, ModelConfig, ModelWorkers
from darkroom.recipes.photographs import photographs_recipe
from darkroom.recipes.recipe import Recipe

_CLASSIFY = partial(
    ClassifyConfig,
    model=ModelConfig(library="torchvision", name="resnet152", weights="hub"),
    piece_rows=512,
    batch_size=256,
    readers=WorkerPool(num_workers=2, num_cpus=0.5),
    decoders=WorkerPool(num_workers=12),
    models=ModelWorkers(num_gpus=1.0),
)


def imagenette() -> Recipe:
    """Ten easily told classes of ImageNet (Howard, fast.ai), 9,469 photographs to train on."""
    uri = "s3://anonymous@air-example-data-2/imagenette2/train"
    trained = photographs_recipe(
        "imagenette", "ten classes of ImageNet: a model at 64x64, or ResNet-152's labels", uri
    )
    return replace(trained, configs=(*trained.configs, _CLASSIFY))


def imagenette_cpu() -> Recipe:
    """EfficientNet-Lite0 on CPUs."""
    config = partial(
        ClassifyConfig,
        model=ModelConfig(library="timm", name="tf_efficientnet_lite0", weights="hub"),
        piece_rows=128,
        batch_size=32,
    )
    return Recipe(
        name="imagenette_cpu",
        description="classify: EfficientNet-Lite0 on a few CPU cores, ImageNet's labels",
        configs=(config,),
    )
