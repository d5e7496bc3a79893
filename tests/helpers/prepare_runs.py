"""A `darkroom prepare` of many small pieces for tests that start it as a command."""

from __future__ import annotations

from typing import Any


def many_pieces(output: str) -> dict[str, Any]:
    """The digits with copies: about 75 pieces, which take some seconds, and several files."""
    return {
        "source": {"kind": "digits"},
        "output": output,
        "image_size": [48, 48],
        "encoding": {"format": "png"},
        "augment": {"copies": 1, "crop": {"min_area": 0.5}},
        "piece_rows": 16,
        "file_size_mb": 1,
    }
