"""Code as a user for whom permissions count: root, as which containers run tests, reads all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import darkroom

NOBODY = 65534


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that another user can reach; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
                path.chmod(0o755)


def as_other_user(imports: str, code: str, *arguments: object) -> str:
    """What `code` prints. `imports` run first: the code itself may lie in a closed folder."""
    program = f"import os, sys\n{imports}\nif os.geteuid() == 0: os.seteuid({NOBODY})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
