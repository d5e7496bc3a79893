"""Networks that pictures are compared by, as users give them: real architectures, no real weights.

A random Inception is useless as it comes (its features differ by 6e-10), so `calibrated_inception`
shows it real pictures once with its batch norms learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from tests.helpers.tiny_families import clip_tokenizer
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

Images = NDArray[np.uint8]
"""(N, 3, H, W)"""

MAX_TOKENS = 24
"""Of the tiny CLIP."""


def photograph_crops(count: int, seed: int, side: int = 64) -> Images:
    """Crops of four real photographs."""
    images: Any = data  # of an untyped library
    sources = [images.astronaut(), images.chelsea(), images.coffee(), images.rocket()]
    random = np.random.default_rng(seed)
    crops = []
    for _ in range(count):
        source = sources[random.integers(len(sources))]
        top, left = (random.integers(size - side) for size in source.shape[:2])
        crops.append(source[top : top + side, left : left + side])
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))


def calibrated_inception(path: Path, *, num_pictures: int = 48) -> Path:
    """Weights of torch-fidelity's Inception v3, random but for its norms; returns the file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = _without_weights(FeatureExtractorInceptionV3)
    norms = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        network(torch.from_numpy(photograph_crops(num_pictures, 0)))
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var.clamp_(min=1e-4)
    torch.save(network.state_dict(), path)
    return path


def _without_weights(extractor: Any) -> Any:
    """Made without the download that it begins with."""
    from unittest import mock

    def no_state(self: Any, _: Mapping[str, Any]) -> None:
        return None

    with (
        mock.patch.object(extractor, "load_state_dict", no_state),
        mock.patch("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"),
    ):
        return extractor("inception-v3-compat", ["2048"])


def save_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """A CLIP of two layers a side, with its tokenizer."""
    tokenizer = clip_tokenizer()
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={
            **size, "num_attention_heads": 2, "vocab_size": len(tokenizer),
            "max_position_embeddings": MAX_TOKENS, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**size, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_dinov2(folder: Path, *, seed: int = 0) -> Path:
    """A DINOv2 of two layers."""
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Dinov2Model(config).save_pretrained(folder)
    return folder


def save_timm(path: Path, name: str = "resnet10t", *, num_classes: int = 7) -> Path:
    """Weights of one of timm's networks, with a classifier of its own."""
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = timm.create_model(name, pretrained=False, num_classes=num_classes)
    torch.save(network.state_dict(), path)
    return path


def save_squeezenet(path: Path, *, seed: int = 0) -> Path:
    """Weights of torchvision's SqueezeNet 1.1, the smallest backbone of LPIPS."""
    from torchvision.models import squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return path
