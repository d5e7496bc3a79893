"""Which driver owns a run: the newest to take it, and the older ones stop.

`<output>/attempts/<run>/run.json` is moved by compare-and-swap only. A driver that was killed
cannot give the run back, so owning never blocks: the newer driver takes over, and the older
one, should it live, finds out at its next check and ends with one line. What either has committed
stays committed, each piece once. Were both to reach the end, the manifest's
conditional write lets one publish.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from darkroom.config import JobConfig
from darkroom.errors import (
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from darkroom.storage import ObjectInfo, ObjectStore, Parent, PartWriter, open_store
from darkroom.storage.manifest import (
    ATTEMPTS_PREFIX,
    decode_json,
    encode_json,
    parse_parents,
    utc_now,
)
from darkroom.storage.same_run import refuse_other_run

RUN_NAME = "run.json"
CHECK_SECONDS = 5.0
_MAX_MOVES = 20


@dataclass(frozen=True, slots=True)
class BegunRun:
    """What an unpublished run says of itself; enough to tell how another command differs."""

    config: dict[str, Any]
    config_digest: str
    parents: tuple[Parent, ...]


class Ownership:
    """This driver as the owner of a run."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._owner = uuid.uuid4().hex
        self._checked = 0.0

    def take(self, config: JobConfig, parents: Sequence[Parent]) -> None:
        """Make this driver the run's owner. Errors: StorageError when it cannot be had."""
        store, key = open_store(self._writer.output), self._key
        values = {
            "owner": self._owner,
            "since": utc_now(),
            "config": config.to_dict(),
            "config_digest": config.digest,
            "parents": [asdict(parent) for parent in parents],
        }
        for _ in range(_MAX_MOVES):
            try:
                etag: str | None = store.get_with_etag(key)[1]
            except ObjectNotFoundError:
                etag = None
            try:
                store.put(key, encode_json(values), if_none_match=etag is None, if_match=etag)
            except PreconditionFailedError:
                if _owner(store, key) == self._owner:  # the answer to our own write was lost
                    return
                continue
            return
        raise StorageError(f"{self._writer.output / key} changes all the time; who writes there?")

    def check(self, *, now: bool = False) -> None:
        """Stop when another driver owns the run; asks the store every few seconds.

        Errors: FencedError.
        """
        if not now and time.monotonic() - self._checked < CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        store = open_store(self._writer.output)
        owner = _owner(store, self._key)
        if owner != self._owner:
            raise FencedError(
                f"{self._writer.output}: a newer driver has taken this run over, and this one"
                " stops; every piece that was committed is kept"
                if owner is not None
                else f"{self._writer.output / self._key} is gone; run the command again"
            )

    @property
    def _key(self) -> str:
        return self._writer.prefix + RUN_NAME


def begun_runs(store: ObjectStore) -> list[ObjectInfo]:
    """The notes of all runs that were begun on an output."""
    return [info for info in store.list(ATTEMPTS_PREFIX) if info.key.endswith(f"/{RUN_NAME}")]


def refuse_other_command(writer: PartWriter, config: JobConfig, parents: Sequence[Parent]) -> None:
    """For --resume: what was begun here must be this very run.

    Errors: OutputExistsError naming what differs from the newest run that was begun here.
    """
    store = open_store(writer.output)
    runs = begun_runs(store)
    if not runs or any(info.key == writer.prefix + RUN_NAME for info in runs):
        return
    newest = max(runs, key=lambda info: info.modified)
    uri = writer.output / newest.key
    values = decode_json(store.get(newest.key), uri=str(uri), what="run")
    try:
        parents_then = parse_parents(values["parents"])
        begun = BegunRun(values["config"], values["config_digest"], parents_then)
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{uri} is no run of ours ({error})") from None
    refuse_other_run(writer.output, begun, config, parents)


def _owner(store: ObjectStore, key: str) -> str | None:
    try:
        values = decode_json(store.get(key), uri=str(store.root / key), what="run")
    except ObjectNotFoundError:
        return None
    owner: str | None = values.get("owner")
    return owner
