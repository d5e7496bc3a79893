"""The U-Net of a run: diffusers' UNet2DModel from the config and the data's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from darkroom.errors import ConfigError
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.train.config import TrainConfig, UNetConfig

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def unet_arguments(
    config: UNetConfig, shape: ImageShape, num_classes: int | None
) -> dict[str, Any]:
    """Arguments of UNet2DModel; the class after the last is the null class.

    Errors: ConfigError when the images cannot be halved once per level.
    """
    levels = len(config.block_out_channels)
    factor = 2 ** (levels - 1)
    for name, size in (("height", shape.height), ("width", shape.width)):
        if size % factor:
            raise ConfigError(
                "unet.block_out_channels",
                list(config.block_out_channels),
                f"{levels} levels halve the image {levels - 1} times, but its {name} {size} is not "
                f"a multiple of {factor}",
                f"use at most {_halvings(size) + 1}, or prepare with an image_size that is",
            )
    attends = [shape.height // 2**level in config.attention_resolutions for level in range(levels)]
    return {
        "sample_size": shape.height if shape.height == shape.width else [shape.height, shape.width],
        "in_channels": shape.channels,
        "out_channels": shape.channels,
        "block_out_channels": list(config.block_out_channels),
        "layers_per_block": config.layers_per_block,
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "attention_head_dim": config.attention_head_dim,
        "norm_num_groups": config.norm_num_groups,
        "dropout": config.dropout,
        "num_class_embeds": None if num_classes is None else num_classes + 1,
    }


def _halvings(size: int) -> int:
    """How often a number can be halved."""
    return (size & -size).bit_length() - 1


def build_unet(config: TrainConfig, shape: ImageShape, num_classes: int | None) -> UNet2DModel:
    """A freshly initialised U-Net; the caller seeds torch first."""
    # Seconds to import, for a driver that only checks the arguments.
    from diffusers import UNet2DModel
    from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

    unet = UNet2DModel(**unet_arguments(config.unet, shape, num_classes))
    for module in unet.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor2_0() if config.compute.sdpa else AttnProcessor())
    return unet
