"""Whether the server has answered this process's job, so that its silence is an outage.

A process that nobody has told gives up soon where no server answers: the endpoint is probably
wrong, and someone is waiting. What works in the middle of a job is told by what it is sent
(`writer.py`, `s3.py`): a task that begins while the server is away waits as the others do.
"""

from __future__ import annotations

from darkroom.storage.aws_variables import in_force

_told: set[object] = set()


def tell() -> None:
    """This process works for one that has had its answers, by the settings that it has now."""
    _told.add(in_force())


def was_told() -> bool:
    """Whether anything that was sent here said so, under the settings that it has now."""
    return in_force() in _told
