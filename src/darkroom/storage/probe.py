"""Whether a store honours conditional writes, asked once for each output and process.

A server that ignores `If-None-Match` answers 200 and would let two jobs both publish, so the
question is put by trying: the second write of one name must lose, and so must a write against
a version that never was. The probe's object lies under `attempts/`, where gc would find it.
"""

from __future__ import annotations

import uuid
from contextlib import suppress

from darkroom.errors import PreconditionFailedError, StorageAccessError
from darkroom.storage.aws_variables import in_force
from darkroom.storage.manifest import CHECKPOINTS_PREFIX
from darkroom.storage.store import ObjectStore
from darkroom.storage.writer import attempt_prefix

_NEVER = '"00000000000000000000000000000000"'
_proven: set[tuple[str | None, ...]] = set()


def require_conditional_writes(store: ObjectStore) -> None:
    """Errors: StorageAccessError when the server would let two writers both win."""
    if store.root.scheme == "file":
        return
    # A run's checkpoints are where the run is, and there are many of them.
    place = str(store.root).partition("/" + CHECKPOINTS_PREFIX)[0]
    who_and_where = (*in_force(), place)
    if who_and_where not in _proven:
        probe_conditional_writes(store)
        _proven.add(who_and_where)


def probe_conditional_writes(store: ObjectStore) -> None:
    """Try it: three small requests and a delete."""
    key = attempt_prefix(f"probe-{uuid.uuid4().hex}") + "probe"
    # Nobody else knows the name: whoever was first was this request, sent again.
    with suppress(PreconditionFailedError):
        store.put(key, b"probe", if_none_match=True)
    try:
        honoured = _loses(store, key, if_none_match=True) and _loses(store, key, if_match=_NEVER)
    finally:
        # Deleting is gc's permission; a writer may lack it.
        with suppress(StorageAccessError):
            store.delete([key])
    if not honoured:
        from darkroom.storage.s3_errors import ConditionalWritesError

        raise ConditionalWritesError(str(store.root))


def _loses(
    store: ObjectStore, key: str, *, if_none_match: bool = False, if_match: str | None = None
) -> bool:
    try:
        store.put(key, b"probe", if_none_match=if_none_match, if_match=if_match)
    except PreconditionFailedError:
        return True
    return False
