"""`darkroom prepare` for tests: of many small pieces as a command, and in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

from tests.helpers.batch_here import stages_here

from darkroom.jobs.prepare import colour, job
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import PlannedPiece
from darkroom.jobs.prepare.rows import item_table


@contextmanager
def prepare_here() -> Iterator[None]:
    """While this lasts, `prepare` works without Ray, its look at the pictures' colours too."""

    def glances(pieces: Sequence[PlannedPiece], config: PrepareConfig) -> Iterator[colour.Glance]:
        yield from (colour.look_at(item_table(piece), config.to_dict()) for piece in pieces)

    with (
        stages_here(),
        mock.patch.object(colour, "_glances", glances),
        mock.patch.object(job, "ray_session", return_value=nullcontext()),
    ):
        yield


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
