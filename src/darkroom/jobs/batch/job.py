"""One batch job from its rows to its published output: plan, run what is missing, publish.

    with open_batch(config, kind=..., rows=..., parents=...) as batch:
        if batch.completed is None:
            batch.run(stages, schema=...)
            batch.merge(...)        # where pieces are no files of a sensible size
            batch.publish(...)

Everything that is the user's to fix is found when the batch is opened, before Ray starts and
before anything is written. The commits (`commits.py`) decide what is done; Ray decides nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from darkroom.config import json_digest
from darkroom.errors import (
    DarkroomError,
    DataError,
    PreconditionFailedError,
    StorageError,
)
from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.batch.commits import Commit, CommitLog
from darkroom.jobs.batch.committer import Committer, FilesOf, read_part, verified
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.batch.figures import BatchFigures, utilization
from darkroom.jobs.batch.merge import Folder, Layout, group_pieces, merger, merging_pieces
from darkroom.jobs.batch.once import made_once
from darkroom.jobs.batch.ownership import RUN_NAME, Ownership, refuse_other_command
from darkroom.jobs.batch.piece import Piece, check_ids, cut, even_lengths, ids_digest
from darkroom.jobs.batch.preflight import cpus_needed
from darkroom.jobs.batch.round import Round
from darkroom.jobs.batch.stage import ID, MERGING, WRITING, Stage
from darkroom.jobs.leftovers import remove_leftovers
from darkroom.jobs.rejects import Reject, write_dead_letters
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.storage import Artifact, FileEntry, Output, Parent, open_output
from darkroom.storage.code_digest import code_digest
from darkroom.storage.manifest import decode_json, encode_json
from darkroom.storage.store import for_each
from darkroom.storage.stores import open_store

T = TypeVar("T")

_log = logging.getLogger("darkroom.batch")


class BatchRun:
    """A run on an output: what is committed, what is missing, and its publication."""

    def __init__(
        self,
        output: Output,
        *,
        config: BatchConfig,
        pieces: Sequence[Piece],
        parents: Sequence[Parent],
        rejected: Sequence[Reject],
        num_sure: int,
    ) -> None:
        self.completed = output.completed
        """The artifact when a resumed job finds its work done; then there is nothing to do."""
        self.writer = output.writer
        """For the run's other files; two drivers of one run may both write them."""
        self.figures: BatchFigures | None = None
        self._output, self._config, self._parents = output, config, parents
        self._ownership = Ownership(output.writer)
        self._round = Round(CommitLog(output.writer), pieces)
        self._merging: Round | None = None
        self._early = list(rejected)
        self._num_sure = num_sure

    @property
    def num_rows(self) -> int:
        """Rows of the input, those rejected before the first stage included."""
        return self._round.num_rows + len(self._early)

    @property
    def rejected(self) -> list[Reject]:
        """Every rejected row so far, in the order of the input."""
        return [*self._early, *(one for commit in self.commits for one in commit.rejects)]

    @property
    def commits(self) -> list[Commit]:
        """The committed pieces, in the order of the input."""
        return self._round.in_order

    @property
    def parts(self) -> list[FileEntry]:
        """What is published of the rows: the files of the pieces, or those they were merged to."""
        commits = self.commits if self._merging is None else self._merging.in_order
        return [entry for commit in commits for entry in commit.files]

    def run(
        self,
        stages: Sequence[Stage],
        *,
        schema: pa.Schema,
        description: str,
        unit: str,
        files: FilesOf | None = None,
        note: Callable[[pa.Table], Mapping[str, Any]] | None = None,
    ) -> BatchFigures:
        """Do what is not committed.

        schema: of the published Parquet; the last stage's table has these columns at least.
        files: further files of a piece, committed with it; they may take more columns.
        note: what to note of a piece in its commit; it may take more columns, too.
        Errors: ConfigError (does not fit the cluster), FencedError (a newer driver), DataError
        (too many rows are bad; what was committed is kept), DarkroomError (a stage failed).
        """
        self._ownership.take(self._config, self._parents)
        work = self._round
        work.resume()
        self.check_rejects()
        resumed = work.num_done
        writing = None if stages[-1].commits else WRITING
        steps = [*stages, *([writing] if writing else ())]
        started = time.monotonic()
        if work.missing:
            # A local Ray's CPUs are bookkeeping: enough for the stages to run side by side.
            with ray_session(num_cpus=local_num_cpus(math.ceil(cpus_needed(steps)))):
                from darkroom.jobs.batch.pipeline import stream  # imports ray

                start = partial(
                    stream,
                    stages=stages,
                    committer=Committer(work.log, schema, files, note),
                    writing=writing,
                    max_restarts=self._config.max_restarts,
                )
                work.run(
                    start, steps, description=description, unit=unit, on_commit=self._committed
                )
        self.figures = BatchFigures(
            num_rows=work.num_rows,
            num_resumed=resumed,
            num_rejected=len(self.rejected),
            seconds=time.monotonic() - started,
            busy_seconds=dict(work.busy_seconds),
            utilization=utilization(work.busy_seconds, work.num_workers, work.seconds),
        )
        _log.info("%s: %s", description, self.figures.line(unit))
        return self.figures

    def merge(self, layout: Layout, folders: Sequence[Folder]) -> None:
        """Make files of a sensible size of the committed pieces, and publish these instead.

        folders: where each piece's rows belong. Resumes like `run`. Errors: FencedError, storage's.
        """
        groups = list(group_pieces(self.commits, folders, file_mb=layout.file_mb))
        work = Round(CommitLog(self.writer, "merged"), merging_pieces(groups))
        work.resume()
        if work.missing:
            with ray_session():
                from darkroom.jobs.batch.pipeline import commit_all  # imports ray

                start = partial(
                    commit_all, committer=merger(work.log, layout, groups), step=MERGING
                )
                check = self._ownership.check
                work.run(start, [MERGING], description="merge", unit="pieces", on_commit=check)
        self._merging = work

    def tables(self) -> Iterator[pa.Table]:
        """The committed rows, piece by piece in order; bytes verified against the commits."""
        store = open_store(self._output.uri)
        for commit in self.commits:
            for entry in commit.files[:1]:
                yield read_part(store.get(entry.key), entry, str(self._output.uri))

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Further files of pieces, verified; None for one of a row that was rejected."""
        store = open_store(self._output.uri)
        entries = {entry.name: entry for entry in self.parts}

        def content(name: str) -> bytes | None:
            entry = entries.get(name)
            return None if entry is None else verified(store.get(entry.key), entry, store.root)

        return for_each(content, names)

    def publish(
        self,
        files: Iterable[FileEntry] = (),
        *,
        info: Callable[..., BatchInfo] = BatchInfo,
        keeps_parts: bool = True,
    ) -> Artifact:
        """Make every committed piece, the dead letters and `files` the output, in one step.

        keeps_parts: False for rows that were a means: what was made of them is in `files`.
        info: makes the kind's own value from `BatchInfo`'s fields.
        Errors: FencedError, PreconditionFailedError (another job published first).
        """
        missing = len(self._round.missing)
        if missing:
            raise DarkroomError(f"{missing} pieces are not committed: call run() first")
        self._ownership.check(now=True)
        rejected = self.rejected
        parts = self.parts if keeps_parts else []
        entries = [*parts, *files, *write_dead_letters(rejected, self.writer)]
        num_rows = sum(commit.files[0].rows or 0 for commit in self.commits if commit.files)
        try:
            artifact = self._output.publish(
                entries,
                rows=num_rows if keeps_parts else None,
                metadata=info(
                    num_rows=num_rows,
                    num_rejected=len(rejected),
                    rejected=dict(sorted(Counter(one.reason for one in rejected).items())),
                    piece_rows=self._config.piece_rows,
                    figures=self.figures.to_dict() if self.figures else None,
                ).to_metadata(),
            )
        except PreconditionFailedError:
            raise
        except StorageError:
            # A driver that published meanwhile has swept what its manifest does not name.
            self._ownership.check(now=True)
            raise
        self._sweep(entries)
        return artifact

    def check_rejects(self) -> None:
        """Stop as soon as the share of bad rows is over the limit. Errors: DataError."""
        count = len(self._early) + self._round.num_rejected
        num_rows = self.num_rows - self._num_sure
        limit = self._config.max_bad_share
        if count < num_rows and count <= limit * num_rows:
            return
        rejected = self.rejected
        reasons = Counter(one.reason for one in rejected).most_common()
        counts = ", ".join(f"{number} {reason}" for reason, number in reasons)
        raise DataError(
            "input",
            None,
            f"{count} of {num_rows} rows ({count / num_rows:.1%}) cannot be used ({counts};"
            f" first: {rejected[0].id}: {rejected[0].detail})",
            f"mend them, or raise max_bad_share, which is {limit:g}; what is done is kept"
            if count < num_rows
            else "give an input that can be read",
        )

    def remember(self, name: str, find: Callable[[], T]) -> T:
        """What `find` returns, found once in the life of the run, whoever drives it.

        It is plain JSON and a function of the run.
        """
        file = f"{name}.json"
        data = made_once(self.writer, file, lambda: encode_json({name: find()}))
        where = f"{self.writer.output}/{self.writer.prefix}{file}"
        found: T = decode_json(data, uri=where, what="note")[name]
        return found

    def _committed(self) -> None:
        self._ownership.check()
        self.check_rejects()

    def _sweep(self, entries: Iterable[FileEntry]) -> None:
        """After publishing: remove the commits, and files that nothing names."""
        keep = {*(entry.key for entry in entries), self.writer.prefix + RUN_NAME}
        store = open_store(self._output.uri)
        left = (i.key for i in store.list(self.writer.prefix) if i.key not in keep)
        place = f"{self.writer.output}/{self.writer.prefix}"
        remove_leftovers(store, left, f"records of its commits stay in {place}")


@contextmanager
def open_batch(
    config: BatchConfig,
    *,
    kind: str,
    rows: pa.Table,
    parents: Sequence[Parent],
    rejected: Sequence[Reject] = (),
    lengths: Sequence[int] | None = None,
    num_sure: int = 0,
) -> Iterator[BatchRun]:
    """Begin or go on with the run of `config` on `rows`, after every check that needs no Ray.

    rows: in their order for ever, each with an `id`. rejected: rows that are known to be bad.
    num_sure: rows that no stage rejects, of which `max_bad_share` is no share.
    lengths: rows of each piece, a function of the input alone; by default `piece_rows` each.
    Errors: DataError (ids, too many bad rows), and those of `open_output`; with on_existing
    "resume" also OutputExistsError when another command was begun on this output.
    """
    check_ids(rows)
    if not len(rows) and not rejected:
        raise DataError("input", None, "has no rows", "name an input that has")
    run_digest = _run_digest(config, kind=kind, rows=rows, parents=parents)
    with open_output(
        config.output,
        kind=kind,
        config=config,
        parents=parents,
        attempt=lambda replaced: json_digest([run_digest, replaced])[:32],
    ) as output:
        batch = BatchRun(
            output,
            config=config,
            pieces=cut(rows, lengths or even_lengths(len(rows), config.piece_rows)),
            parents=parents,
            rejected=rejected,
            num_sure=num_sure,
        )
        if output.completed is None:
            if config.on_existing == "resume":
                refuse_other_command(output.writer, config, parents)
            batch.check_rejects()
        yield batch


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
