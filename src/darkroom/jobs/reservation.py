"""How many CPUs a worker reserves in Ray when its config does not say."""

from __future__ import annotations


def reserved_cpus(num_cpus: float | None, num_gpus: float) -> float:
    """As told; else 1, or 0 beside a GPU.

    GPU pools offer Ray no CPU, so that work without a GPU never starts a GPU node.
    """
    if num_cpus is not None:
        return num_cpus
    return 0.0 if num_gpus else 1.0
