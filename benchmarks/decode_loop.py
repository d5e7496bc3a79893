"""The least that preparing pictures must do: read RGB files, decode them, drop them.

No Ray and nothing of Darkroom, so that worker processes start with no more than Pillow.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

FILES_AT_ONCE = 64


def decode_files(paths: Sequence[Path]) -> int:
    """Decode them all; the pixels seen."""
    num_pixels = 0
    for path in paths:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            assert image.mode == "RGB", path
            num_pixels += image.width * image.height
    return num_pixels


class DecodeLoop:
    """So many processes that decode the same files, started once."""

    def __init__(self, paths: Sequence[Path], *, num_processes: int) -> None:
        self._parts = [
            paths[start : start + FILES_AT_ONCE] for start in range(0, len(paths), FILES_AT_ONCE)
        ]
        # Forking a process that runs Ray's threads would not be safe.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(num_processes, mp_context=context)

    def __call__(self) -> None:
        """Decode everything once; the processes take the next files when they are done."""
        assert all(self._pool.map(decode_files, self._parts))

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()
