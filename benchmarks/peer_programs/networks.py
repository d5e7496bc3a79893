"""The networks of the comparisons, with random weights, and the transforms that they want."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torchvision
from torchvision.transforms import v2

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = {"resnet152": (232, 224), "mobilenetv3_small_050": (256, 224)}
"""The shorter side, and the crop."""


def build(name: str) -> tuple[torch.nn.Module, tuple[int, int]]:
    torch.manual_seed(0)
    if name == "resnet152":
        model: Any = torchvision.models.resnet152(weights=None)
    else:
        model = timm.create_model(name, pretrained=False)
    return model.eval(), SIZES[name]


def transform_of(resize: int, crop: int) -> Any:
    return v2.Compose(
        [
            v2.Resize(resize, antialias=True),
            v2.CenterCrop(crop),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
