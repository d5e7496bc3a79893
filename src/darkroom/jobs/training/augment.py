"""Random changes of the pictures of a batch: mirrored, cropped, in other colours.

Each row's are functions of (seed, epoch, row), like its noise, and are the same transformations
that `prepare` and `cache` bake into pictures and encodings. Legend: B rows, C H W of pictures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from darkroom.jobs.pictures.config import ColorJitterConfig, RandomCropConfig
from darkroom.jobs.training.config import DataConfig
from darkroom.jobs.training.draws import RowDraws

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in what is seen as grey (ITU-R BT.601)."""


def augmented(pictures: Tensor, draws: RowDraws, config: DataConfig) -> Tensor:
    """Pictures (B, C, H, W) in [-1, 1], changed as the config says; of the same size and range."""
    if config.horizontal_flip:
        mirrored = draws.happens("horizontal_flip", 0.5)
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
    if config.crop is not None:
        pictures = _cropped(pictures, draws.uniform("crop", (4,)), config.crop)
    jitter = config.color_jitter
    if jitter is not None and not jitter.is_identity:
        pictures = _jittered(pictures, draws.uniform("color_jitter", (4,)), jitter)
    return pictures


def _cropped(pictures: Tensor, drawn: Tensor, config: RandomCropConfig) -> Tensor:
    """A window of random area, aspect and place, resized to the picture's own size.

    drawn: uniform in [0, 1), (B, 4).
    """
    area = config.min_area + (1 - config.min_area) * drawn[:, 0]
    stretch = torch.exp((2 * drawn[:, 1] - 1) * math.log(config.max_aspect))
    width = (area * stretch).sqrt().clamp(max=1.0)
    height = (area / stretch).sqrt().clamp(max=1.0)
    left = (2 * drawn[:, 2] - 1) * (1 - width)
    top = (2 * drawn[:, 3] - 1) * (1 - height)
    zero = torch.zeros_like(width)
    theta = torch.stack((width, zero, left, zero, height, top), dim=1).view(-1, 2, 3)
    grid = affine_grid(theta, list(pictures.shape), align_corners=False)
    return grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _jittered(pictures: Tensor, drawn: Tensor, config: ColorJitterConfig) -> Tensor:
    """Brightness, contrast, saturation and hue, in this order, clamped after each.

    drawn: uniform in [0, 1), (B, 4).
    """
    ranges = drawn.new_tensor((config.brightness, config.contrast, config.saturation))
    factors = (1 + (2 * drawn[:, :3] - 1) * ranges).view(-1, 3, 1, 1, 1).unbind(1)
    levels = (pictures + 1) / 2
    if config.brightness:
        levels = (levels * factors[0]).clamp(0, 1)
    if config.contrast:
        mean = _grey(levels).mean(dim=(1, 2, 3), keepdim=True)
        levels = mean.lerp(levels, factors[1]).clamp(0, 1)
    if levels.shape[1] == len(_LUMA):
        if config.saturation:
            levels = _grey(levels).lerp(levels, factors[2]).clamp(0, 1)
        if config.hue:
            levels = _turned(levels, (2 * drawn[:, 3] - 1) * config.hue)
    return levels * 2 - 1


def _grey(levels: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    if levels.shape[1] != len(_LUMA):
        return levels
    return torch.einsum("bchw,c->bhw", levels, levels.new_tensor(_LUMA))[:, None]


def _turned(levels: Tensor, turns: Tensor) -> Tensor:
    """The colour circle turned by a share of itself, (B,); torchvision takes one picture's."""
    from torchvision.transforms.v2.functional import adjust_hue

    rows = [adjust_hue(row, turn) for row, turn in zip(levels, turns.tolist(), strict=True)]
    return torch.stack(rows)
