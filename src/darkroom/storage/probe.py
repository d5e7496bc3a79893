"""Whether a store honours conditional writes, asked once for each bucket and process.

A server that ignores `If-None-Match` answers 200 and would let two jobs both publish, so the
question is put by trying: the second write of one name must lose, and so must a write against
a version that never was. The probe's object lies under `attempts/`, where gc would find it.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress

from darkroom.errors import PreconditionFailedError, StorageAccessError
from darkroom.storage.store import ObjectStore
from darkroom.storage.writer import attempt_prefix

_NEVER = '"00000000000000000000000000000000"'
_proven: set[tuple[str, str]] = set()


def require_conditional_writes(store: ObjectStore) -> None:
    """Errors: StorageAccessError when the server would let two writers both win."""
    server = (os.environ.get("AWS_ENDPOINT_URL_S3", ""), store.root.bucket)
    if store.root.scheme == "file" or server in _proven:
        return
    probe_conditional_writes(store)
    _proven.add(server)


def probe_conditional_writes(store: ObjectStore) -> None:
    """Try it: three small requests and a delete."""
    key = attempt_prefix(f"probe-{uuid.uuid4().hex}") + "probe"
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
