"""One batch job from its rows to its published output: plan, run what is missing, publish.

    with open_batch(config, kind=..., rows=..., parents=...) as batch:
        if batch.completed is None:
            batch.run(stages, schema=...)
            batch.publish(...)

Everything that is the user's to fix is found when the batch is opened, before Ray starts and
before anything is written. The ledger (`ledger.py`) decides what is done; Ray decides nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from darkroom.config import json_digest
from darkroom.errors import DarkroomError, DataError, PreconditionFailedError, StorageError
from darkroom.jobs.batch.claim import Claim, refuse_other_command
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.batch.figures import BatchFigures, utilization
from darkroom.jobs.batch.ledger import Ledger, Record
from darkroom.jobs.batch.part import Committer, FilesOf, parquet_bytes, read_part
from darkroom.jobs.batch.piece import Piece, check_ids, cut, ids_digest
from darkroom.jobs.batch.preflight import cpus_needed, writing_stage
from darkroom.jobs.batch.reject import Reject, reject_table
from darkroom.jobs.batch.stage import ID, Stage
from darkroom.jobs.progress import progress
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.storage import Artifact, FileEntry, Output, Parent, open_output
from darkroom.storage.code_digest import code_digest
from darkroom.storage.store import open_store

DEAD_LETTERS_NAME = "dead_letters/part-00000.parquet"

_log = logging.getLogger("darkroom.batch")


class Batch:
    """A run on an output: what is committed, what is missing, and its publication."""

    def __init__(
        self,
        output: Output,
        *,
        config: BatchConfig,
        pieces: Sequence[Piece],
        parents: Sequence[Parent],
        rejected: Sequence[Reject],
    ) -> None:
        self.completed = output.completed
        """The artifact when a resumed job finds its work done; then there is nothing to do."""
        self.writer = output.writer
        """For the run's other files; two tries of one run may both write them."""
        self.figures: BatchFigures | None = None
        self._output, self._config, self._parents = output, config, parents
        self._pieces = pieces
        self._ledger = Ledger(output.writer)
        self._claim = Claim(output.writer)
        self._early = list(rejected)
        self._records: dict[int, Record] = {}

    @property
    def num_rows(self) -> int:
        """Rows of the input, those rejected before the first stage included."""
        return sum(len(piece.table) for piece in self._pieces) + len(self._early)

    @property
    def rejected(self) -> list[Reject]:
        """Every rejected row so far, in the order of the input."""
        records = (self._records[index] for index in sorted(self._records))
        return [*self._early, *(reject for record in records for reject in record.rejects)]

    @property
    def parts(self) -> list[FileEntry]:
        """Files of the committed pieces, in the order of the input."""
        return [entry for index in sorted(self._records) for entry in self._records[index].files]

    def run(
        self,
        stages: Sequence[Stage],
        *,
        schema: pa.Schema,
        description: str,
        unit: str,
        files: FilesOf | None = None,
    ) -> BatchFigures:
        """Do what the ledger lacks.

        schema: of the published Parquet; the last stage's table has these columns.
        files: further files of a piece, committed with it.
        Errors: ConfigError (does not fit the cluster), FencedError (a newer driver), DarkroomError
        (a stage failed, or too many rows are bad; what was committed is kept).
        """
        self._claim.take(self._config, self._parents)
        self._records = self._ledger.committed([piece.ids_digest for piece in self._pieces])
        self._check_rejects()
        missing = [piece for piece in self._pieces if piece.index not in self._records]
        resumed = sum(record.num_rows for record in self._records.values())
        started = time.monotonic()
        work = _Work(
            stages, Committer(self._ledger, schema, files), self._config.num_writers,
            description, unit,
        )  # fmt: skip
        if missing:
            needed = math.ceil(cpus_needed(work.stages))
            # A local Ray's CPUs are bookkeeping: enough for the stages to run side by side.
            with ray_session(num_cpus=local_num_cpus(needed)):
                self._stream(missing, work, num_resumed=resumed)
        self.figures = BatchFigures(
            num_rows=self.num_rows - len(self._early),
            num_resumed=resumed,
            num_rejected=len(self.rejected),
            seconds=time.monotonic() - started,
            busy_seconds=dict(work.busy_seconds),
            utilization=utilization(work.busy_seconds, work.stages, work.seconds),
        )
        _log.info("%s: %s", description, self.figures.line(unit))
        return self.figures

    def tables(self) -> Iterator[pa.Table]:
        """The committed rows, part by part in order; bytes verified against the ledger."""
        store = open_store(self._output.uri)
        for index in sorted(self._records):
            for entry in self._records[index].files[:1]:
                yield read_part(store.get(entry.key), entry, str(self._output.uri))

    def publish(
        self, files: Iterable[FileEntry] = (), *, metadata: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Make every committed piece, the dead letters and `files` the output, in one step.

        Errors: FencedError, PreconditionFailedError (another job published first).
        """
        missing = len(self._pieces) - len(self._records)
        if missing:
            raise DarkroomError(f"{missing} pieces are not committed: call run() first")
        self._claim.look(now=True)
        letters = self.rejected
        entries = [*self.parts, *files, *self._dead_letters(letters)]
        num_rows = sum(record.num_rows - len(record.rejects) for record in self._records.values())
        try:
            artifact = self._output.publish(
                entries,
                rows=num_rows,
                metadata={
                    **(metadata or {}),
                    "num_rows": num_rows,
                    "num_rejected": len(letters),
                    "rejected": dict(sorted(Counter(item.reason for item in letters).items())),
                    "piece_rows": self._config.piece_rows,
                    "figures": self.figures.to_dict() if self.figures else None,
                },
            )
        except PreconditionFailedError:
            raise
        except StorageError:
            # A driver that published meanwhile has swept what its manifest does not name.
            self._claim.look(now=True)
            raise
        self._ledger.sweep(entry.key for entry in entries)
        return artifact

    def _stream(self, missing: Sequence[Piece], work: _Work, *, num_resumed: int) -> None:
        from darkroom.jobs.batch.pipeline import stream  # imports ray

        started = time.monotonic()
        receipts = stream(
            missing,
            work.given,
            work.committer,
            num_writers=self._config.num_writers,
            max_restarts=self._config.max_restarts,
        )
        # Closed here: what the pipeline holds of Ray must be let go before Ray is shut down.
        with (
            closing(receipts),
            progress(self.num_rows - len(self._early), work.description, work.unit) as bar,
        ):
            if num_resumed:
                bar.advance(num_resumed)
            for receipt in receipts:
                self._records[receipt.record.piece] = receipt.record
                work.add(receipt.busy_seconds)
                bar.advance(receipt.record.num_rows)
                self._claim.look()
                self._check_rejects()
        work.seconds = time.monotonic() - started

    def _check_rejects(self) -> None:
        """Stop as soon as the share of bad rows is over the limit."""
        letters = self.rejected
        all_bad = len(letters) >= self.num_rows
        if not all_bad and len(letters) <= self._config.max_bad_share * self.num_rows:
            return
        reasons = Counter(letter.reason for letter in letters).most_common()
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
        first = letters[0]
        raise DarkroomError(
            f"{len(letters)} of {self.num_rows} rows ({len(letters) / self.num_rows:.1%}) cannot"
            f" be used, more than max_bad_share {self._config.max_bad_share:g} allows ({counts};"
            f" first: {first.id}: {first.detail}); nothing is published, and the good"
            " rows are kept for a run with a higher limit"
        )

    def _dead_letters(self, letters: Sequence[Reject]) -> list[FileEntry]:
        if not letters:
            return []
        data = parquet_bytes(reject_table(letters))
        return [self.writer.write_bytes(DEAD_LETTERS_NAME, data, rows=len(letters))]


class _Work:
    """What one call of `run` is to do, and how long its stages have worked."""

    def __init__(
        self, stages: Sequence[Stage], committer: Committer, num_writers: int,
        description: str, unit: str,
    ) -> None:  # fmt: skip
        self.given = stages
        self.stages = [*stages, writing_stage(num_writers)]
        self.committer = committer
        self.description, self.unit = description, unit
        self.seconds = 0.0
        self.busy_seconds = {stage.name: 0.0 for stage in self.stages}

    def add(self, busy_seconds: Mapping[str, float]) -> None:
        for name, seconds in busy_seconds.items():
            self.busy_seconds[name] += seconds


@contextmanager
def open_batch(
    config: BatchConfig,
    *,
    kind: str,
    rows: pa.Table,
    parents: Sequence[Parent],
    rejected: Sequence[Reject] = (),
) -> Iterator[Batch]:
    """Begin or go on with the run of `config` on `rows`, after every check that needs no Ray.

    rows: in their order for ever, each with an `id`. rejected: rows that are known to be bad.
    Errors: DataError (ids), and those of `open_output`; with on_existing "resume" also
    OutputExistsError when another command was begun on this output.
    """
    check_ids(rows)
    if not len(rows):
        raise DataError("input", None, "has no rows", "name an input that has")
    run_digest = _run_digest(config, kind=kind, rows=rows, parents=parents)
    with open_output(
        config.output,
        kind=kind,
        config=config,
        parents=parents,
        attempt=lambda replaced: json_digest([run_digest, replaced])[:32],
    ) as output:
        if output.completed is None and config.on_existing == "resume":
            refuse_other_command(output.writer, config, parents)
        yield Batch(
            output,
            config=config,
            pieces=cut(rows, config.piece_rows),
            parents=parents,
            rejected=rejected,
        )


def _run_digest(
    config: BatchConfig, *, kind: str, rows: pa.Table, parents: Sequence[Parent]
) -> str:
    """Names a run: whatever could change a byte of the output is in it."""
    return json_digest(
        {
            "kind": kind,
            "config": config.digest,
            "code": code_digest(),
            "parents": sorted([parent.role, parent.digest] for parent in parents),
            "ids": ids_digest(rows[ID].to_pylist()),
        }
    )
