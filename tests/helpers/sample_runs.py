"""A `darkroom sample` for tests that start it as a command: a tiny model, slow steps."""

from __future__ import annotations

from typing import Any


def settings(root: str, output: str) -> dict[str, Any]:
    """Sixteen pieces of eight pictures, drawn in batches of five with fresh noise at every step."""
    return {
        "input": f"{root}/model",
        "output": f"{root}/{output}",
        "num_images": 128,
        "sampler": "ddpm",
        "num_steps": 30,
        "strip": 3,
        "piece_rows": 8,
        "batch_size": 5,
        "num_workers": 1,
    }
