"""The release's wheel in an environment of its own, from its lock: every package by its hash.

Packages come from the machine's index, or uv's cache; nothing else of this tree is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.proof import write_json

ROOT = Path(__file__).resolve().parents[2]


def test_a_release_runs_from_its_folder_alone(tmp_path: Path) -> None:
    dist, venv = tmp_path / "dist", tmp_path / "venv"
    make = [sys.executable, "-m", "release", "make", str(dist), "--image=none", "--changed"]
    subprocess.run(make, env={**os.environ, "PYTHONPATH": str(ROOT / "hack")}, check=True)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    python = f"--python={venv}/bin/python"
    (lock,), (wheel,) = dist.glob("*-requirements.txt"), dist.glob("*.whl")
    install = [uv, "pip", "install", "--quiet", python, "--no-deps"]
    subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True)
    subprocess.run([*install, str(wheel)], check=True)
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def darkroom(*arguments: str) -> str:
        command = [str(venv / "bin" / "darkroom"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=outside, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [str(venv / "bin" / "python"), "-c", "import darkroom; print(darkroom.__file__)"],
        cwd=tmp_path, env=outside, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(venv)
    darkroom("prepare", "--recipe", "digits_smoke", "--output", "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["files"]
    assert "--for-job" in darkroom("submit", "--help")
    said = darkroom("--version").strip()
    write_json("release", {"version": said, "files": sorted(path.name for path in dist.iterdir())})
