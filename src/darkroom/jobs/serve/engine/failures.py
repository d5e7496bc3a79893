"""What clients are told of a failure that is not their request's: that there was one, and no more.

What a library or the operator's own code says may name places, code and what others asked for. It
goes to the log of the process that draws.
"""

from __future__ import annotations

import logging
import traceback

from darkroom.messages import masked

_log = logging.getLogger("darkroom.serve")


def logged(problem: str, error: BaseException) -> str:
    """What to tell; the error itself is logged."""
    _log.error("%s: %s", problem, masked("".join(traceback.format_exception(error))))
    return f"{problem}; the log of what draws says why"
