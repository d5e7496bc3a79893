"""What a run leaves that its published output makes needless."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from darkroom.errors import DarkroomError
from darkroom.storage import ObjectStore

_log = logging.getLogger(__name__)


def remove_leftovers(store: ObjectStore, keys: Iterable[str], what: str) -> None:
    """Remove them after publishing, when a job no longer fails for what cannot be removed.

    what: the words of the warning, such as "the live page stays in URI".
    """
    try:
        store.delete(list(keys))
    except DarkroomError as error:
        _log.warning("published; %s: %s", what, error)
