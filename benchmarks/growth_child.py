"""One size of one piece of work, in a process of its own: `growth.py` starts it and reads it.

    python -m benchmarks.growth_child plan 1000000

Its lines of JSON are its measurements (`growth_meter.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

WORK: Mapping[str, str] = {
    "plan": "growth_driver", "drawn_plan": "growth_driver", "tune": "growth_driver",
    "files": "growth_storage", "keys": "growth_storage", "outputs": "growth_storage",
    "prepare": "growth_verbs", "classify": "growth_verbs", "generate": "growth_verbs",
    "evaluate": "growth_verbs", "rayjobs": "growth_cluster",
}  # fmt: skip
"""The module of each kind of work; its function has the same name."""


def main() -> None:
    kind, size = sys.argv[1], int(sys.argv[2])
    work: Callable[[int], None] = getattr(import_module(f"benchmarks.{WORK[kind]}"), kind)
    work(size)


if __name__ == "__main__":
    main()
