"""The sum of all ranks' gradients, once a step, when no rank can fail any more.

Each rank brings the gradient of its own rows' part of the mean loss, so the sum is the gradient
of the whole batch, however its rows are shared out. DistributedDataParallel would average inside
`backward`, where a rank that runs out of memory leaves the others waiting for ever. The price is
that communication and backward do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

# As large as the copy that is made of a piece at a time; small enough to be no burden.
_PIECE_ELEMENTS = 2**24


def num_ranks() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_rank() -> int:
    """Which of them this process is."""
    return dist.get_rank() if dist.is_initialized() else 0


def failed_rank(parameters: Sequence[nn.Parameter], *, failed: bool) -> int | None:
    """The highest rank that has `failed`, the same on every rank; None when none has.

    A parameter that has a gradient on any rank has one on all afterwards, of zeros where a rank's
    rows gave none. One without any has none, as on a single rank: it is not decayed.
    """
    if num_ranks() == 1:
        return 0 if failed else None
    rank = dist.get_rank()
    present = [int(each.grad is not None) for each in parameters]
    shared = torch.tensor([(rank + 1) * failed, *present], device=parameters[0].device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    worst, *present = shared.tolist()
    if worst:
        return int(worst) - 1
    for parameter, anywhere in zip(parameters, present, strict=True):
        if anywhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return None


def sum_over_ranks(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all ranks, always added in one order."""
    if num_ranks() == 1:
        return
    for piece in _pieces([each.grad for each in parameters if each.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in piece])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in piece])
        for gradient, part in zip(piece, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _pieces(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type, about `_PIECE_ELEMENTS` together."""
    piece: list[Tensor] = []
    count = 0
    for gradient in gradients:
        too_many = count + gradient.numel() > _PIECE_ELEMENTS
        if piece and (too_many or gradient.dtype != piece[0].dtype):
            yield piece
            piece, count = [], 0
        piece.append(gradient)
        count += gradient.numel()
    if piece:
        yield piece
