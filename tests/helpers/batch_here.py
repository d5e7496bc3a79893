"""A batch job's stages in this process, without Ray: the same pieces, checks and commits.

What would cross to a worker is packed or pickled as there, so a stage that could not go shows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar
from unittest import mock

import ray.cloudpickle as pickle

from darkroom.jobs.batch import job, pipeline
from darkroom.jobs.batch.committer import Commits
from darkroom.jobs.batch.piece import Piece, pack, unpack
from darkroom.jobs.batch.pipeline import Receipt
from darkroom.jobs.batch.stage import Stage, StageFunction, run_stage
from darkroom.jobs.rejects import Rejects

T = TypeVar("T")

Wrap = Callable[[str, StageFunction], StageFunction]
"""(stage's name, its function) -> what stands for it."""


def _sent(value: T) -> T:
    """As a worker would get it."""
    received: T = pickle.loads(pickle.dumps(value))  # type: ignore[no-untyped-call]
    return received


@contextmanager
def stages_here(wrap: Wrap = lambda _, function: function) -> Iterator[None]:
    """While this lasts, `BatchRun.run` and `merge` work without Ray."""

    def stream(
        pieces: Sequence[Piece], stages: Sequence[Stage], committer: Commits, **_: Any
    ) -> Generator[Receipt, None, None]:
        stages, committer = _sent((list(stages), committer))
        functions = [(stage, wrap(stage.name, stage.make())) for stage in stages]
        for planned in pieces:
            piece = planned
            for stage, function in functions:
                piece = unpack(pack(piece))
                rejects = Rejects(stage.name)
                piece.table = run_stage(stage, function, piece.table, rejects, None)
                piece.rejects += rejects.found
            yield Receipt(committer.commit(unpack(pack(piece))), {})

    def commit_all(
        pieces: Sequence[Piece], committer: Commits, **_: Any
    ) -> Generator[Receipt, None, None]:
        committer = _sent(committer)
        yield from (Receipt(committer.commit(unpack(pack(piece))), {}) for piece in pieces)

    with (
        mock.patch.object(pipeline, "stream", stream),
        mock.patch.object(pipeline, "commit_all", commit_all),
        mock.patch.object(pipeline, "num_workers", return_value=1),
        mock.patch.object(job, "ray_session", return_value=nullcontext()),
    ):
        yield
