"""SIGTERM and SIGINT unwind the command, so that what it started is stopped in order.

A job that can do better while it runs (training saves a checkpoint) takes the signals over.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal arrived. No Exception, so that no retry loop takes it for a fault."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(
            f"stopped by {signal.Signals(number).name}; what is published is whole, "
            "and --resume goes on from it"
        )


@contextmanager
def unwinding_on_signals() -> Iterator[None]:
    """Raise Stopped where a signal arrives; one that the parent had us ignore stays ignored."""
    before = {
        number: handler
        for number in _SIGNALS
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)
