"""Labels for pictures with ImageNet's thousand classes, the worked example of `classify`.

    darkroom classify --recipe imagenette --input s3://bucket/imagenette2-320/val \
      --output s3://bucket/predictions

Imagenette's ten folders are WordNet ids (n01440764), which map to labels by themselves, so the run
ends with accuracy and a confusion table. `imagenette` is written for a node with one GPU and 16
CPUs and downloads ResNet-152's published weights (about 230 MB; `--weights URI` takes a copy
instead); `imagenette_cpu` is a small model for a laptop.
"""

from __future__ import annotations

from darkroom.recipes.recipe import Recipe


def imagenette() -> Recipe:
    """ResNet-152 in bfloat16 on one GPU, fed by twelve decoders."""
    return Recipe(
        name="imagenette",
        description="classify: ResNet-152 on one GPU, ImageNet's labels",
        configs={
            "classify": {
                "model": {"library": "torchvision", "name": "resnet152", "weights": "hub"},
                "piece_rows": 512,
                "batch_size": 256,
                "workers": {
                    "num_readers": 2,
                    "num_decoders": 12,
                    "num_models": 1,
                    "model_cpus": 1.0,
                    "model_gpus": 1.0,
                },
            },
        },
    )


def imagenette_cpu() -> Recipe:
    """EfficientNet-Lite0 on CPUs."""
    return Recipe(
        name="imagenette_cpu",
        description="classify: EfficientNet-Lite0 on a few CPU cores, ImageNet's labels",
        configs={
            "classify": {
                "model": {"library": "timm", "name": "tf_efficientnet_lite0", "weights": "hub"},
                "piece_rows": 128,
                "batch_size": 32,
                "workers": {"num_decoders": 2},
            },
        },
    )
