"""A Git repository that holds this project's charts and manifests, and that a test commits to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from testcluster.settings import PROJECT

BRANCH = "main"
# Nobody's own settings, and a name for the commits.
ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "tests" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "tests@example.com" for who in ("AUTHOR", "COMMITTER")},
}


class GitRepository:
    """A bare repository, which a server at `address` has under its name, and a checkout beside."""

    def __init__(self, folder: Path, address: str) -> None:
        self.checkout = folder / "checkout"
        bare = folder / "darkroom.git"
        self.url = f"{address}/{bare.name}"
        _git(folder, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(bare))
        for name in ("charts", "manifests"):
            shutil.copytree(PROJECT / name, self.checkout / name, symlinks=True)
        _git(self.checkout, "init", "--quiet", f"--initial-branch={BRANCH}")
        _git(self.checkout, "remote", "add", "origin", str(bare))

    def replace(self, path: str, old: str, new: str) -> None:
        """Puts one text in the place of another, which must stand in the file."""
        file = self.checkout / path
        text = file.read_text()
        assert old in text, f"{path} does not hold {old}"
        file.write_text(text.replace(old, new))

    def edit(self, path: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes a file of YAML, which need not exist."""
        file = self.checkout / path
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
        change(content)
        file.write_text(yaml.safe_dump(content))

    def commit(self, message: str) -> str:
        """Commits all that changed and pushes it; the revision."""
        _git(self.checkout, "add", "--all")
        _git(self.checkout, "commit", "--quiet", f"--message={message}")
        return self._push()

    def revert(self) -> str:
        """Takes the newest commit back by another one; the revision."""
        _git(self.checkout, "revert", "--no-edit", "HEAD")
        return self._push()

    def revision(self) -> str:
        return _git(self.checkout, "rev-parse", "HEAD").strip()

    def _push(self) -> str:
        _git(self.checkout, "push", "--quiet", "origin", BRANCH)
        return self.revision()


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout
