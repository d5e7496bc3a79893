"""What a proof measured, kept as JSON under `build/proofs/`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "build" / "proofs"


def write_json(name: str, figures: object) -> None:
    """Figures as `build/proofs/<name>.json`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def keep(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows, and print them: one line each."""
    write_json(name, list(rows))
    for row in rows:
        line = ", ".join(f"{key} {value}" for key, value in row.items())
        sys.stderr.write(f"{name}: {line}\n")
