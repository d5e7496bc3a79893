"""A full disk, said as such: Python, torch and TensorBoard each have words of their own for it."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from darkroom.errors import StorageError

_TORCH_COULD_NOT_WRITE = "PytorchStreamWriter failed writing"


@contextmanager
def naming_a_full_disk() -> Iterator[None]:
    """Around what writes to the temporary folder. Errors: StorageError naming it and the remedy."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if not full and _TORCH_COULD_NOT_WRITE not in str(error):
            raise
        folder = tempfile.gettempdir()
        raise StorageError(
            f"{folder}: no space is left for a checkpoint and logs; free some there, or set TMPDIR"
            " to a larger folder"
        ) from error
