"""A command meets its standard streams closed, full, unread or unable to spell a letter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = f"{sys.executable} -m darkroom"


def run(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash; its exit code is the command's."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder, capture_output=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment},
    )  # fmt: skip
    assert b"unexpected" not in done.stderr
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (f"{COMMAND} recipes >&-", 0, ""),
        (f"{COMMAND} storage ls s3:/b 2>&-", 2, ""),
        (f"{COMMAND} recipes >&- 2>&- <&-", 0, ""),
        (f"{COMMAND} recipes >/dev/full", 1, "standard output cannot be written (No space left"),
        (f"{COMMAND} --help >/dev/full", 1, "standard output cannot be written (No space left"),
        (f"{COMMAND} recipes | true", 141, ""),
        (f"{COMMAND} --help | true", 141, ""),
        (f"{COMMAND} storage ls s3:/b 2>&1 | true", 2, ""),
        (f"mkdir x; cd x; rmdir ../x; {COMMAND} storage ls y", 2, "current folder: is gone"),
        (f"mkdir x; cd x; rmdir ../x; {COMMAND} --help >/dev/null", 0, ""),
    ],
)
def test_a_stream(line: str, code: int, says: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode == code
    assert done.stderr.decode().removeprefix("darkroom: ").startswith(says)
    assert done.stderr.count(b"\n") == bool(says)


def test_letters_that_stdout_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "é").mkdir()
    (tmp_path / "é" / "ü").touch()
    plain = run(f"{COMMAND} storage ls é", tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8")
    assert plain.returncode == 0
    assert rb"\xfc" in plain.stdout
    found = run(f"{COMMAND} storage ls é --json", tmp_path, PYTHONIOENCODING="ascii",
                LC_ALL="C.UTF-8")  # fmt: skip
    assert "ü" in str(json.loads(found.stdout))
    shown = run(f"{COMMAND} prepare --input é --output ü --show-config", tmp_path,
                PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8")  # fmt: skip
    assert shown.returncode == 0
    assert shown.stdout.isascii()
