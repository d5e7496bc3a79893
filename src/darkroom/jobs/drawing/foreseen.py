"""Pictures before they are drawn: what is known of them while no model is loaded.

`sample` tells it of what it would draw, so that a verb which lets it draw can refuse before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Parent


@dataclass(frozen=True)
class ForeseenPictures:
    """What a command would draw; all that it would refuse has been looked for."""

    rows: pa.Table
    """`id`, `class_name` and `prompt` of each, in order."""
    shape: ImageShape | None
    """None where only the loaded model knows it."""
    parents: Sequence[Parent]
    """What they will descend from."""
    are_drawn: bool
    """This very command has published them before."""
    draw: Callable[[], Mapping[str, Any]]
    """Goes on: draws and publishes them; returns what the command prints."""
