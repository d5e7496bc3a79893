"""Runs a command in this process, and writes down when the phases of its start began.

    python -m benchmarks.start_up_child FILE -c CODE
    python -m benchmarks.start_up_child FILE VERB [OPTION]...       as `darkroom VERB ...`

FILE gets a JSON object: the wall clock before and after Ray was connected to and left, the seconds
that imports took until then and in all, and the processor seconds of this process. Only the main
thread's imports are timed, and each once, with all that it imports itself.
"""

from __future__ import annotations

import builtins
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Watch:
    """Marks of one run."""

    def __init__(self) -> None:
        self.marks: dict[str, float] = {}
        self._import_seconds = 0.0
        self._depth = 0
        self._real_import: Callable[..., Any] = builtins.__import__
        self._has_ray = False

    def start(self) -> None:
        builtins.__import__ = self._import

    def stop(self) -> None:
        builtins.__import__ = self._real_import
        self._mark("returned")
        self.marks["processor"] = time.process_time()

    def _import(self, *arguments: Any, **named: Any) -> Any:
        if self._depth or threading.current_thread() is not threading.main_thread():
            return self._real_import(*arguments, **named)
        began = time.perf_counter()
        self._depth += 1
        try:
            return self._real_import(*arguments, **named)
        finally:
            self._depth -= 1
            self._import_seconds += time.perf_counter() - began
            if not self._has_ray and "ray" in sys.modules:
                self._has_ray = True
                self._watch_ray(sys.modules["ray"])

    def _watch_ray(self, ray: Any) -> None:
        init, shutdown = ray.init, ray.shutdown

        def marked_init(*arguments: Any, **named: Any) -> Any:
            self._mark("connecting")
            try:
                return init(*arguments, **named)
            finally:
                self._mark("connected")

        def marked_shutdown(*arguments: Any, **named: Any) -> Any:
            self._mark("leaving")
            return shutdown(*arguments, **named)

        ray.init, ray.shutdown = marked_init, marked_shutdown

    def _mark(self, name: str) -> None:
        """The first of its name stays."""
        if name not in self.marks:
            self.marks[name] = time.time()
            self.marks[f"imports until {name}"] = self._import_seconds


def main() -> None:
    file, first, *rest = sys.argv[1:]
    watch = Watch()
    watch.start()
    try:
        if first == "-c":
            exec(rest[0], {"__name__": "__main__"})  # noqa: S102 - the benchmark's own text
            code = 0
        else:
            from darkroom.cli import main as darkroom

            code = darkroom([first, *rest])
    finally:
        watch.stop()
        Path(file).write_text(json.dumps(watch.marks))
    sys.exit(code)


if __name__ == "__main__":
    main()
