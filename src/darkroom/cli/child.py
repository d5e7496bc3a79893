"""Run a command for as long as something of ours must stay up, as `env` or `timeout` would.

The command gets its own process group and, where there is one, the terminal. SIGTERM, SIGINT
and SIGHUP reach the whole group once: a shell script dies of SIGTERM at once while the job that
it runs is still writing its checkpoint, so the group's last process is waited for. To become the
command (exec) would not do: the signal would reach the script alone, and the job go on untold.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from darkroom.errors import ConfigError

GRACE_SECONDS = 120.0
"""How long the rest of a signalled group may take to finish."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command's exit code; 128 + n when signal n ended it.

    Errors: ConfigError when the command cannot be started.
    """
    try:
        child = subprocess.Popen(command, env=dict(environment), process_group=0)
    except OSError as error:
        raise ConfigError(
            "COMMAND", command[0], f"cannot be run ({error.strerror})", "name a program after --"
        ) from None
    with _terminal_for(child.pid), _forwarding_to(child.pid) as forwarded:
        code = child.wait()
        if forwarded:
            _wait_for_group(child.pid)
    return code if code >= 0 else 128 - code


@contextmanager
def _forwarding_to(group: int) -> Iterator[list[int]]:
    """Pass signals on to the group; yields the list of those that came."""
    forwarded: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        forwarded.append(number)
        _kill_group(group, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _terminal_for(group: int) -> Iterator[None]:
    """Make the group the terminal's foreground job, so that it may read and gets Ctrl-C."""
    if not sys.stdin.isatty():
        yield
        return
    # A background group that changes the foreground is stopped by SIGTTOU.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    terminal = sys.stdin.fileno()
    own_group = os.tcgetpgrp(terminal)
    os.tcsetpgrp(terminal, group)
    _kill_group(group, signal.SIGCONT)  # it may have read before it was allowed to
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, own_group)
        signal.signal(signal.SIGTTOU, before)


def _wait_for_group(group: int) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and _kill_group(group, 0):
        time.sleep(0.05)


def _kill_group(group: int, number: int) -> bool:
    """Whether there was a process to signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
