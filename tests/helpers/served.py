"""`darkroom serve` as a command, as a person starts it: address, processes, what it has written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import psutil

_SECONDS = 900
"""For a start, and for an end; a busy machine takes its time."""


@dataclass
class Served:
    """A service that answers."""

    address: str
    began: float
    """`time.monotonic` of the command's start."""
    process: psutil.Process
    folder: Path
    """Of Ray's sessions, whose logs are kept while it runs."""
    said: Path
    """What the command printed."""

    def replicas(self) -> dict[str, int]:
        """What answers or draws -> resident bytes; its name and process id."""
        found = {}
        for each in self.process.children(recursive=True):
            try:
                title = " ".join(each.cmdline()).strip()
                if title.startswith(("ray::ServeReplica", "ray::Proxy")):
                    name = title.split()[0].removeprefix("ray::").split(".")[0]
                    found[f"{name} {each.pid}"] = each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return found

    def written(self) -> Iterator[Path]:
        """Every file of a log."""
        yield self.said
        yield from (path for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def served(place: str, *flags: str) -> Iterator[Served]:
    """The service, which is stopped at the end by SIGTERM."""
    folder = Path(tempfile.mkdtemp(prefix="serve-", dir="/tmp"))  # Ray wants it short
    said = folder / "said"
    command = [sys.executable, "-m", "darkroom", "serve", place, "--port", "0", *flags]
    environment = {**os.environ, "RAY_TMPDIR": str(folder)}
    began = time.monotonic()
    with (
        said.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process,
    ):
        try:
            address = _address(process, said)
            yield Served(address, began, psutil.Process(process.pid), folder, said)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_SECONDS)
    rmtree(folder, ignore_errors=True)


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and process.poll() is None:
        text = said.read_text()
        if "Draw at " in text:
            return text.partition("Draw at ")[2].split()[0].rstrip("/")
        time.sleep(0.05)
    raise AssertionError(f"the service did not come up:\n{said.read_text()}")
