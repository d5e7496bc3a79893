"""Norms of gradients and weights of each top-level block of what is trained, for the log.

Computed when a row is logged and at no other step; one transfer from the device for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from darkroom.jobs.training.sharding import whole

_CLIP_EPS = 1e-6
"""What clip_grad_norm_ adds to the norm that it divides by."""


def block_of(name: str) -> str:
    """The block that a parameter is of: its component's child, one of a list with its number.

    unet.down_blocks.0.attentions.1.to_q.weight -> unet.down_blocks.0
    """
    component, *path = name.split(".")
    end = 2 if len(path) > 2 and path[1].isdigit() else 1
    return ".".join((component, *path[:end]))


def block_norms(
    trained: Mapping[str, nn.Parameter], *, grad_norm: Tensor, max_grad_norm: float | None
) -> dict[str, float]:
    """By column: grad_norm/<block>, before clipping, and param_norm/<block>.

    trained: by name, with the gradients of the step, which were clipped to max_grad_norm.
    grad_norm: their norm before.
    """
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        blocks.setdefault(block_of(name), []).append(parameter)
    clipped = clip_factor(grad_norm, max_grad_norm)
    columns: dict[str, Tensor] = {}
    for block, parameters in blocks.items():
        gradients = [each.grad for each in parameters if each.grad is not None]
        columns[f"grad_norm/{block}"] = _norm(gradients, grad_norm) / clipped
        columns[f"param_norm/{block}"] = _norm([each.detach() for each in parameters], grad_norm)
    values = torch.stack(list(columns.values())).tolist()
    return dict(zip(columns, values, strict=True))


def clip_factor(grad_norm: Tensor, max_grad_norm: float | None) -> Tensor:
    """What gradients of this norm were multiplied with."""
    if max_grad_norm is None:
        return torch.ones_like(grad_norm)
    return (max_grad_norm / (grad_norm + _CLIP_EPS)).clamp(max=1.0)


def _norm(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return whole(get_total_norm(tensors)).to(like) if tensors else torch.zeros_like(like)
