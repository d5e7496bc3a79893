"""FSDP2: every rank keeps a share of each parameter, its gradient, moments and average.

`fully_shard` gathers one block at a time and lets it go again, so a network trains that does not
fit into one device. Parameters become DTensors; what is elementwise (the average) works on the
rank's own share of them. All forward and backward passes are collective here: every rank makes
equally many (`sharded_batches.py`, `validation.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from darkroom.jobs.training.gradients import num_ranks

if TYPE_CHECKING:
    from darkroom.jobs.training.module import TrainedModule


class Sharding:
    """How a module is shared out over all ranks."""

    def __init__(self, device: torch.device, *, mixed: bool) -> None:
        """mixed: gather and compute in bfloat16; shares, gradients and their sum stay float32."""
        self.mesh: DeviceMesh = init_device_mesh(device.type, (num_ranks(),))
        # Autocast casts what suits bfloat16. Casting all inputs would round timesteps too.
        self._policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if mixed else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        self._device = device

    def share_out(self, networks: Mapping[nn.Module, Iterable[str]]) -> None:
        """Shard networks in place. networks: each with the classes of its repeated blocks.

        What is trained is rank 0's first, should another kind of processor make other numbers.
        """
        for network, blocks in networks.items():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    self._take_from_rank_zero(parameter)
            for part in list(network.modules()):
                if type(part).__name__ in blocks:
                    self._shard(part)
            self._shard(network)

    def place(self, state: Mapping[str, Any], module: TrainedModule) -> None:
        """Turn whole tensors of a checkpoint's state into this rank's shares, in place."""
        weights, ema = state["state_dict"], state["ema"]
        for name, like in module.trained.items():
            weights[name] = self._placed(weights[name], like)
        ema["shadow_params"] = [
            self._placed(each, module.trained[name])
            for name, each in zip(ema["names"], ema["shadow_params"], strict=True)
        ]
        ordered = [each for group in module.groups for each in group.parameters]
        for optimizer in state["optimizer_states"]:
            for index, values in optimizer["state"].items():
                for key, value in values.items():
                    if isinstance(value, Tensor) and value.shape == ordered[index].shape:
                        values[key] = self._placed(value, ordered[index])

    def empty(self, shape: Iterable[int], dtype: torch.dtype) -> Tensor:
        """This rank's share of a tensor, to be read into."""
        whole = torch.empty(tuple(shape), dtype=dtype, device="meta")
        shared = distribute_tensor(whole, self.mesh, [Shard(0)], src_data_rank=None)
        return wrapped(torch.empty_like(shared.to_local(), device=self._device), shared)

    def _shard(self, part: nn.Module) -> None:
        # A root would keep its own parameters gathered, also while averages come and go in them.
        sharded: FSDPModule = fully_shard(
            part, mesh=self.mesh, mp_policy=self._policy, reshard_after_forward=True
        )
        # Each rank brings its rows' part of the mean loss: the sum is the whole batch's gradient.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other with a factor

    def _take_from_rank_zero(self, parameter: nn.Parameter) -> None:
        sent = parameter.detach().to(self._device)
        torch.distributed.broadcast(sent, src=0)
        parameter.detach().copy_(sent)

    def _placed(self, value: Tensor, like: Tensor) -> Tensor:
        if isinstance(value, DTensor) or not isinstance(like, DTensor):
            return value
        return distribute_tensor(
            value.to(self._device), self.mesh, like.placements, src_data_rank=None
        )


def own_share(tensor: Tensor) -> Tensor:
    """The rank's part of a sharded tensor, in the same memory; any other as it is."""
    if not isinstance(tensor, DTensor):
        return tensor
    held: Any = tensor.detach()  # an alias, and still a DTensor
    share: Tensor = held.to_local().requires_grad_(tensor.requires_grad)
    return share


def wrapped(share: Tensor, like: Tensor) -> Tensor:
    """The inverse of `own_share`: a share as the whole that `like` is a share of."""
    if not isinstance(like, DTensor):
        return share
    return DTensor.from_local(
        share, like.device_mesh, like.placements, run_check=False,
        shape=like.shape, stride=like.stride(),
    )  # fmt: skip


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered on every rank; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
