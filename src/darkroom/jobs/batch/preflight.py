"""Whether a pipeline fits the cluster, asked before it starts: Ray Data waits for ever instead.

Every actor holds its share from the first piece to the last, and one task of every other stage
must fit beside them, or the pipeline stands still without a word. GPU fractions must fit onto
single GPUs: two stages of 0.6 do not share one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from darkroom.errors import ConfigError
from darkroom.jobs.batch.stage import Workers

_ROUNDING = 1e-6  # 0.1 + 0.2 is more than 0.3


def cpus_needed(steps: Iterable[Workers]) -> float:
    """CPUs that must be there at once: all actors, and one task of each other step."""
    return sum(step.num_cpus * step.num_held for step in steps)


def check_fits(
    steps: Sequence[Workers], *, num_cpus: float, gpus_of_nodes: Sequence[float] | None
) -> None:
    """num_cpus, gpus_of_nodes: infinite and None where the cluster grows to an unknown size.

    Errors: ConfigError in one line, with what is needed, what is there and the remedy.
    """
    _check_cpus(steps, num_cpus)
    _check_gpus(steps, gpus_of_nodes)


def _check_cpus(steps: Sequence[Workers], num_cpus: float) -> None:
    needed = cpus_needed(steps)
    if needed <= num_cpus + _ROUNDING:
        return
    parts = ", ".join(
        f"{step.name} {step.num_workers} x {step.num_cpus:g}" if step.actor
        else f"{step.name} {step.num_cpus:g}"
        for step in steps if step.num_cpus
    )  # fmt: skip
    raise ConfigError(
        "num_cpus",
        round(needed, 3),
        f"CPUs are needed at once ({parts}), and the cluster has {num_cpus:g}: the pipeline would"
        " wait for ever",
        "lower the number of workers or their CPUs, or use a larger cluster",
    )


def _check_gpus(steps: Sequence[Workers], gpus_of_nodes: Sequence[float] | None) -> None:
    wanted = sorted(
        (step.num_gpus for step in steps for _ in range(step.num_workers or 1) if step.num_gpus),
        reverse=True,
    )
    if not wanted:
        return
    parts = ", ".join(
        f"{step.name} {step.num_workers} x {step.num_gpus:g}"
        for step in steps if step.num_gpus
    )  # fmt: skip
    for step in steps:
        if step.num_gpus > 1 and step.num_gpus % 1:
            raise ConfigError(
                f"{step.name}.num_gpus",
                step.num_gpus,
                "is more than one GPU and no whole number",
                "give whole GPUs, or a fraction of one",
            )
    if gpus_of_nodes is not None and not _fits(wanted, gpus_of_nodes):
        raise ConfigError(
            "num_gpus",
            round(sum(wanted), 3),
            f"GPUs are needed at once ({parts}), and the cluster's nodes have"
            f" {', '.join(f'{count:g}' for count in gpus_of_nodes if count) or 'none'}",
            "fractions of one GPU must add up to at most 1; lower them or the number of workers",
        )


def _fits(wanted: Sequence[float], gpus_of_nodes: Sequence[float]) -> bool:
    """First fit, largest first: whole GPUs of one node, then fractions into single GPUs."""
    free = [[1.0] * math.floor(count + _ROUNDING) for count in gpus_of_nodes]
    for share in wanted:
        if share >= 1:
            count = int(share)
            node = next((gpus for gpus in free if gpus.count(1.0) >= count), None)
            if node is None:
                return False
            for _ in range(count):
                node.remove(1.0)
            continue
        slot = next(
            (
                (gpus, index)
                for gpus in free
                for index, left in enumerate(gpus)
                if left + _ROUNDING >= share
            ),
            None,
        )
        if slot is None:
            return False
        slot[0][slot[1]] -= share
    return True
