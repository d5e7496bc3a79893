"""The ranks' process group, made by Ray Train's own functions, which only the workers import.

Ray Train's `TorchConfig` loads torch (half a gigabyte) wherever it is named: in the driver and in
the controller, both of which run where the head has little memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import ray
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.util import TrainingFramework


@dataclass
class ProcessGroup(BackendConfig):
    """As Ray Train's `TorchConfig`: NCCL between GPUs, gloo between CPUs."""

    use_gpu: bool
    timeout_seconds: int
    """No rank waits longer than this for another in a collective operation."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What runs in the controller."""
        return _ProcessGroupBackend

    @property
    def train_func_context(self) -> Any:
        """What the training function runs in, on the worker."""
        return _on_own_device

    @property
    def framework(self) -> TrainingFramework:
        """For Ray Train's records."""
        return TrainingFramework.TORCH


class _ProcessGroupBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        address, port = worker_group.execute_single(0, get_address_and_port)
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _join, backend_config, rank, size, address, port
                )
                for rank in range(size)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        from ray.train.constants import DEFAULT_TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S as TIMEOUT

        left = worker_group.execute_async(_leave)
        ray.wait(left, num_returns=len(left), timeout=TIMEOUT)


def _join(given: ProcessGroup, rank: int, size: int, address: str, port: int) -> None:
    import os

    from ray.train.torch import config

    torch_config: Any = config  # untyped, as Ray has it
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    torch_config._set_torch_distributed_env_vars()  # noqa: SLF001 - as its own backend does
    torch_config._setup_torch_process_group(  # noqa: SLF001
        backend="nccl" if given.use_gpu else "gloo",
        world_rank=rank,
        world_size=size,
        init_method="env://",
        timeout_s=given.timeout_seconds,
    )


def _leave() -> None:
    from ray.train.torch import config

    torch_config: Any = config
    torch_config._shutdown_torch(destroy_process_group=True)  # noqa: SLF001


def _on_own_device() -> AbstractContextManager[Any]:
    from ray.train.torch.config import TorchConfigContextManager

    context: AbstractContextManager[Any] = TorchConfigContextManager()
    return context
