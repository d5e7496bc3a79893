"""A network whose features tell how alike two pictures are: any image model of transformers.

Loads safetensors only, and nothing that is not in the folder. Legend: B rows, H W pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.find import unloadable

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for folders that name none."""
_REMEDY = (
    "give a transformers folder of an image network with safetensors, such as ResNet or DINOv2"
)


class FeatureNetwork(nn.Module):
    """Pictures to the features of each of its layers."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, settings: dict[str, Any]) -> None:
        """settings: of its preprocessor_config.json."""
        super().__init__()
        self.network = network
        config: Any = network.config
        size = getattr(config, "image_size", None)
        self.size: int | None = size if isinstance(size, int) else None
        """Pixels on a side of the pictures that it takes; None for any."""
        for name, usual in (("mean", _MEAN), ("std", _STD)):
            values = torch.tensor(settings.get(f"image_{name}") or usual)
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Pictures in [-1, 1] to features, each (B, ...) with a dimension of channels: the second
        of (B, C, h, w), the last of (B, T, D)."""
        pictures = (x_BCHW.float() + 1) / 2
        if self.size is not None and pictures.shape[-2:] != (self.size, self.size):
            pictures = functional.interpolate(
                pictures, (self.size, self.size), mode="bilinear", antialias=True
            )
        given = (pictures - self.mean) / self.std
        return list(self.network(given, output_hidden_states=True).hidden_states)


def load_feature_network(folder: Path, *, field: str, name: str) -> FeatureNetwork:
    """The folder's network on the CPU, frozen, in evaluation mode, float32.

    Errors: ConfigError naming `field` for what is no image network whose layers can be read.
    """
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        loaded: Any = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        network = FeatureNetwork(loaded.eval().requires_grad_(False), _settings(folder))  # noqa: FBT003
        with torch.no_grad():
            side = network.size or 64
            network(torch.zeros(1, 3, side, side))
    except Exception as error:  # a file that lies raises anything
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        raise unloadable(folder, error, field=field, model=name, remedy=_REMEDY) from error
    return network.eval()


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_bytes()) if path.exists() else {}
    return values if isinstance(values, dict) else {}
