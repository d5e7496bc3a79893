"""The standard streams, whatever state they are in when the command starts.

Standard error passes the filter of `darkroom.messages`: all that this process prints there, its
libraries' warnings and tracebacks included. Standard output belongs to results and is not
filtered here, since one command's result is credentials. It may be closed, have lost its reader,
lie on a full disk, or be unable to spell a letter.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from darkroom.errors import DarkroomError
from darkroom.messages import masked


class StdoutLostError(DarkroomError):
    """Standard output takes nothing more. The job behind it is done all the same."""

    def __init__(self, error: OSError) -> None:
        self.is_silent = isinstance(error, BrokenPipeError)
        """As other programs are when `head` has seen enough."""
        self.exit_code = 128 + signal.SIGPIPE if self.is_silent else 1
        super().__init__(
            f"standard output cannot be written ({error.strerror}); what the command did is done"
        )


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make sys.stdout and sys.stderr usable and safe for as long as the block runs."""
    _open_closed()
    before = sys.stdout, sys.stderr
    out, err = before[0] or _opened(1), before[1] or _opened(2)
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = cast("TextIO", _Stdout(out)), cast("TextIO", _Masked(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def can_spell(text: str) -> bool:
    """Whether standard output has every letter of the text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Stream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def _discard(self) -> None:
        """What is still buffered would fail again when the interpreter ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Masked(_Stream):
    def write(self, text: str) -> int:
        try:
            self._stream.write(masked(text))
        except OSError:
            self._discard()  # and there is nowhere to say so
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()


class _Stdout(_Stream):
    def write(self, text: str) -> int:
        if text == "":
            return 0  # typer tries a stream so, and does not say what it met
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard()
            raise StdoutLostError(error) from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._discard()
            raise StdoutLostError(error) from None


def _open_closed() -> None:
    """Give the numbers 0 to 2 something, or the next file opened becomes standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _opened(number: int) -> TextIO:
    return os.fdopen(number, "w", closefd=False, errors="backslashreplace")
