"""When a running job commits its pieces, seen from beside it, also where commits are removed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_EVERY_SECONDS = 0.05


def seconds_between_commits(work: Callable[[], object], output: str) -> float:
    """The mean, of a job that `work` runs into an output: without its start and its end."""
    with commit_times(Path(output)) as times:
        work()
    return (times[-1] - times[0]) / (len(times) - 1)


@contextmanager
def commit_times(output: Path) -> Iterator[list[float]]:
    """Seconds since the epoch of each commit under `output`, a local folder, in order.

    The list is filled when the block ends. The times are those of the files; looking often only
    finds each one before it is removed.
    """
    seen: dict[str, float] = {}
    times: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_SECONDS):
            for record in output.glob("**/commits/*.json"):
                with suppress(FileNotFoundError):
                    seen.setdefault(str(record), record.stat().st_mtime)

    looking = threading.Thread(target=look, name="commit-times")
    looking.start()
    try:
        yield times
    finally:
        over.set()
        looking.join()
        times.extend(sorted(seen.values()))
