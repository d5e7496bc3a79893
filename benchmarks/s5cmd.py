"""s5cmd, built from its pinned source: what uploads and downloads are measured against.

The test cluster's builder makes it (hack/testcluster/go/s5cmd), with the Go on PATH or its
wheel's, and keeps it in the cache. Copies run as its users run them: one command, its defaults.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / ".cache" / "cluster" / "bin" / "s5cmd"
PART_MIB = 64
COPY_SECONDS = 600


def build() -> None:
    """Build it unless it is there and current; minutes the first time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    command = [sys.executable, "-m", "testcluster", "build", "s5cmd"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def copy(source: str, target: str) -> None:
    """Copy a file, or all that a wildcard matches; server and credentials by the environment."""
    # Single files in parts of the size that the benchmark speaks of; its own is 50 MiB.
    subprocess.run(
        [
            *(str(PROGRAM), "--endpoint-url", os.environ["AWS_ENDPOINT_URL_S3"]),
            *("--log", "error", "cp", "--part-size", str(PART_MIB)),
            *(source, target),
        ],
        check=True,
        timeout=COPY_SECONDS,
    )
