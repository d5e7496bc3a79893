"""A small `darkroom classify` for tests that start it as a command: pictures, and its settings."""

from __future__ import annotations

from typing import Any

from tests.helpers.pictures import broken_files, crops, encoded

from darkroom.storage import open_store

NUM_PICTURES = 44
NUM_BROKEN = 4


def upload_pictures(uri: str) -> str:
    """Photographs' pieces in two classes, and a few broken files among them."""
    items = [
        (encoded(crop, quality=90), f"{name}/{index:02d}.jpg")
        for name in ("chelsea", "coffee")
        for index, crop in enumerate(crops(name, NUM_PICTURES // 2))
    ]
    items += [(broken.data, f"coffee/{broken.name}") for broken in broken_files()[:NUM_BROKEN]]
    open_store(uri).upload_many(items)
    return uri


def small_settings(pictures: str, output: str) -> dict[str, Any]:
    """Twelve pieces of four, a small model with random weights."""
    return {
        "input": pictures,
        "output": output,
        "model": {"library": "timm", "name": "mobilenetv3_small_050", "weights": "random"},
        "piece_rows": 4,
        "batch_size": 2,
        "max_bad_share": 0.5,
        "decoders": {"num_workers": 1},
        "models": {"num_threads": 1},
    }
