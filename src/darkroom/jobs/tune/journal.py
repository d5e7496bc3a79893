"""Optuna's journal in a store of ours: one object per entry, made only if it is absent.

`journal/00000042.json` holds an id and some of Optuna's log lines, as JSON. Whoever finds its
number taken reads what stands there and takes the next, so all readers see one order, nothing is
lost, and no lock is needed. Nothing is ever changed or deleted, and nothing is a pickle.

Several lines that belong together are one entry (`together`): after a kill either all of them stand
there or none. While they are gathered they count as written; should another driver have
written in between, it owns the study, and this one is told so.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from darkroom.errors import (
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from darkroom.storage.manifest import JOURNAL_PREFIX
from darkroom.storage.store import ObjectStore

Line = dict[str, Any]


class StudyJournal(BaseJournalBackend):
    """The entries below `<study>/journal/`, for one process."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lines: list[Line] = []
        self._num_entries = 0
        self._gathered: list[Line] | None = None

    @property
    def num_entries(self) -> int:
        """Entries that were read or written so far."""
        return self._num_entries

    def read_logs(self, log_number_from: int) -> Iterator[Line]:
        """Lines from this number on, what is being gathered included. Errors: IntegrityError."""
        if self._gathered is None:
            self._read()
        # From where the reader is: all of them, at every read, would be a square of the trials.
        written = len(self._lines)
        yield from self._lines[log_number_from:]
        yield from (self._gathered or [])[max(0, log_number_from - written) :]

    def append_logs(self, logs: list[Line]) -> None:
        """Write an entry, or gather its lines."""
        if self._gathered is not None:
            self._gathered += logs
            return
        self._append(logs, alone=False)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything appended in the block becomes one entry at its end; after an error, none.

        Errors: FencedError when another driver has written meanwhile; what Optuna has read of the
        block is then no longer right, so the study must be opened again.
        """
        self._read()
        gathered: list[Line] = []
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
        if gathered:
            self._append(gathered, alone=True)

    def _append(self, lines: list[Line], *, alone: bool) -> None:
        entry = {"id": secrets.token_hex(8), "lines": lines}
        data = json.dumps(entry, sort_keys=True, allow_nan=False).encode()
        # Lines go through JSON, so that a writer sees what every reader will.
        lines = json.loads(data)["lines"]
        while True:
            number = self._num_entries
            try:
                self._store.put(_key(number), data, if_none_match=True)
            except PreconditionFailedError:
                if self._entry(number)["id"] != entry["id"]:
                    self._refuse_other(alone=alone)
                    self._read()
                    continue
                # Our own write, whose answer was lost and which the client then sent again.
            self._lines += lines
            self._num_entries += 1
            return

    def _refuse_other(self, *, alone: bool) -> None:
        if alone:
            raise FencedError(
                f"{self._store.root}: another driver took this study over; this one must stop"
            )

    def _read(self) -> None:
        while True:
            try:
                entry = self._entry(self._num_entries)
            except ObjectNotFoundError:
                return
            self._lines += entry["lines"]
            self._num_entries += 1

    def _entry(self, number: int) -> dict[str, Any]:
        data = self._store.get(_key(number))
        try:
            entry: dict[str, Any] = json.loads(data)
            entry["id"], entry["lines"]
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self._store.root / _key(number)} is no entry of a study's journal ({error})"
            ) from None
        return entry


def _key(number: int) -> str:
    return f"{JOURNAL_PREFIX}{number:08d}.json"
