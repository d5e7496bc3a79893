"""One round of work on pieces: what is committed is skipped, the rest streams through Ray.

A batch has one over its rows, and one more where the files of its pieces are merged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from darkroom.jobs.batch.commits import Commit, CommitLog
from darkroom.jobs.batch.piece import Piece
from darkroom.jobs.batch.stage import Workers
from darkroom.jobs.progress import progress

if TYPE_CHECKING:
    from darkroom.jobs.batch.pipeline import Receipt


class Round:
    """The pieces of a round, and their commits."""

    def __init__(self, log: CommitLog, pieces: Sequence[Piece]) -> None:
        self.log = log
        self.num_rows = sum(piece.num_rows for piece in pieces)
        self.num_done = 0
        """Rows of committed pieces."""
        self.num_rejected = 0
        self.seconds = 0.0
        self.busy_seconds: dict[str, float] = {}
        """Work by stage, over all of its workers."""
        self.num_workers: dict[str, int] = {}
        self._pieces = pieces
        self._commits: dict[int, Commit] = {}

    @property
    def in_order(self) -> list[Commit]:
        """The commits, by piece."""
        return [self._commits[index] for index in sorted(self._commits)]

    @property
    def missing(self) -> list[Piece]:
        """Pieces that are not committed."""
        return [piece for piece in self._pieces if piece.index not in self._commits]

    def resume(self) -> None:
        """Take over what earlier drivers of this run have committed."""
        self._commits, self.num_done, self.num_rejected = {}, 0, 0
        for commit in self.log.committed([piece.ids_digest for piece in self._pieces]).values():
            self._take(commit)

    def run(
        self,
        start: Callable[[Sequence[Piece]], Generator[Receipt, None, None]],
        steps: Sequence[Workers],
        *,
        description: str,
        unit: str,
        on_commit: Callable[[], None],
    ) -> None:
        """Do what is missing; `on_commit` is called after each commit, and may raise."""
        from darkroom.jobs.batch.pipeline import num_workers  # imports ray

        self.busy_seconds = {step.name: 0.0 for step in steps}
        started = time.monotonic()
        receipts = start(self.missing)
        # Closed here: what the pipeline holds of Ray must be let go before Ray is shut down.
        with closing(receipts), progress(self.num_rows, description, unit) as bar:
            if self.num_done:
                bar.advance(self.num_done)
            for receipt in receipts:
                self._take(receipt.commit)
                for name, seconds in receipt.busy_seconds.items():
                    self.busy_seconds[name] += seconds
                bar.advance(receipt.commit.num_rows)
                on_commit()
        self.num_workers = {step.name: num_workers(step) for step in steps}
        self.seconds = time.monotonic() - started

    def _take(self, commit: Commit) -> None:
        self._commits[commit.piece] = commit
        self.num_done += commit.num_rows
        self.num_rejected += len(commit.rejects)
