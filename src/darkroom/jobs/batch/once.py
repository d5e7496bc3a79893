"""A file of a run that is made once, by whoever needs it first, and taken as it is ever after.

For what all pieces must share and a resumed run must not make anew: a network that is trained on
the way would differ on another machine, and the pieces with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from darkroom.errors import ObjectNotFoundError, PreconditionFailedError
from darkroom.storage import FileEntry, PartWriter, open_store


def made_once(writer: PartWriter, name: str, make: Callable[[], bytes]) -> bytes:
    """The run's file `name`; made and stored now if it is not there. Of several makers one wins."""
    store, key = open_store(writer.output), writer.prefix + name
    try:
        return store.get(key)
    except ObjectNotFoundError:
        data = make()
    try:
        store.put(key, data, if_none_match=True)
    except PreconditionFailedError:
        return store.get(key)
    return data


def entry_of(writer: PartWriter, name: str) -> FileEntry:
    """Such a file, for publishing it. Errors: ObjectNotFoundError."""
    key = writer.prefix + name
    data = open_store(writer.output).get(key)
    return FileEntry(name, key, len(data), hashlib.sha256(data).hexdigest())
