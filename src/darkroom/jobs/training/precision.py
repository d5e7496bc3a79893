"""Mixed precision: operations that suit it run in two bytes, weights and sums in four."""

from __future__ import annotations

import torch
from lightning.pytorch.plugins import MixedPrecision, Precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """As `compute.precision` says, for passes outside of Lightning's steps."""
    mixed = precision != "float32"
    dtype = getattr(torch, precision) if mixed else None
    return torch.autocast(device.type, dtype=dtype, enabled=mixed)


def precision_plugin(precision: str, device: str) -> Precision:
    """Lightning's part, for its steps. It scales no loss: `loss_scale.py` does, resumably."""
    if precision == "float32":
        return Precision()
    plugin = MixedPrecision("bf16-mixed", device)
    if precision == "float16":
        plugin.precision = "16-mixed"  # set afterwards, it makes no scaler of its own
    return plugin
