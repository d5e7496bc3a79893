"""Playwright in an environment of its own, made of `requirements/browser.txt` where one asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOCK = Path(__file__).parents[2] / "requirements" / "browser.txt"
VISIT = Path(__file__).with_name("page_visit.py")


def browser_python(folder: Path) -> Path:
    """A Python with Playwright, which drives Debian's Chromium; skips where that is missing."""
    if not shutil.which("chromium"):
        pytest.skip("Debian's chromium is not installed: make chromium")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    python = folder / "bin" / "python"
    subprocess.run([python, *install, "--require-hashes", "--requirement", LOCK], check=True)
    return python


def visit(python: Path, address: str, folder: Path) -> dict[str, Any]:
    """What a visit to the page saw (`page_visit.py`); screenshots go to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(python), str(VISIT), address, str(folder)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 0, "the visit failed: see what Playwright wrote above"
    seen: dict[str, Any] = json.loads(run.stdout)
    return seen
