"""Files that are exchanged while a service runs: looked at now and then, read again on a change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

LOOK_SECONDS = 1.0


class WatchedFiles:
    """Remembers how files were last seen. Not for several threads at once."""

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        """files: which ones, asked at each look; it may raise OSError, which is a state as well."""
        self._files = files
        self._looked_at = time.monotonic()
        self._state = self._state_now()

    def have_changed(self) -> bool:
        """Whether they are others than at the last look; looks once a second at most."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        before, self._state = self._state, self._state_now()
        return self._state != before

    def _state_now(self) -> object:
        """Kubernetes exchanges a link beside the files, so they are followed."""
        try:
            found = [(path.name, path.stat()) for path in self._files()]
        except OSError as error:
            return error.errno
        return [(name, each.st_mtime_ns, each.st_size, each.st_ino) for name, each in found]
