"""Which tensors an optimizer remembers something of, so that none is lost on the way unseen.

A tensor that has never had a gradient is rightly not remembered. So a checkpoint names those that
are: one that has lost the state of another would train on, from moments of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.errors import DataError

KEY = "remembered"
"""Of a checkpoint; those of older builds have none."""


def remembered(names: Sequence[str], optimizer: Mapping[str, Any]) -> list[str]:
    """Those of which there is state. names: of the optimizer's parameters, in its order."""
    state = optimizer["state"]
    return [name for place, name in enumerate(names) if state.get(place)]


def require_remembered(names: Sequence[str], checkpoint: Mapping[str, Any]) -> None:
    """Errors: DataError naming the first tensor whose state is missing."""
    if KEY not in checkpoint:
        return
    (optimizer,) = checkpoint["optimizer_states"]
    found = set(remembered(names, optimizer))
    for name in checkpoint[KEY]:
        if name not in found:
            raise DataError(
                "checkpoint", f"step {checkpoint['global_step']}",
                f"has no optimizer state of {name}, which has had a gradient",
                "resume from another, or begin a new run from it with init_from.optimizer fresh",
            )  # fmt: skip
