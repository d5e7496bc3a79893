"""The code digest is of the sources that run, and of nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import darkroom

PROGRAM = "from darkroom.storage.code_digest import code_digest; print(code_digest())"


def _digest_of_copy(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        env={"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_equal_copy_has_the_same_digest_and_a_changed_one_another(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(darkroom.__file__).parent, one / "darkroom", ignore=ignore)
    shutil.copytree(one, other)
    (other / "darkroom" / "notes.txt").write_text("not code")
    digest = _digest_of_copy(one)
    assert len(digest) == hashlib.sha256().digest_size * 2
    assert _digest_of_copy(other) == digest
    with (other / "darkroom" / "errors.py").open("a") as file:
        file.write("# one more line\n")
    assert _digest_of_copy(other) != digest
