"""Proof: a shell pipeline promotes what passes the gate of `evaluate`, and nothing else.

The command runs as users run it, on a Ray of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.proof import keep
from tests.helpers.tiny_artifacts import publish_digits, publish_samples, split_digits

from darkroom.storage import open_artifact


def test_a_shell_promotes_only_what_passes(tmp_path: Path) -> None:
    publish_digits(tmp_path / "data")
    publish_samples(tmp_path / "samples", *split_digits("validation"))
    codes = {}
    for name, require in (
        ("good", "kid_pixels<0.5"), ("bad", "kid_pixels>0.5"), ("wrong", "kid_pixel<0.5"),
    ):  # fmt: skip
        script = (
            f"darkroom evaluate --input samples --reference data --output {name} "
            f'--require "{require}" --set \'metrics=["kernel_pixels"]\' && touch promoted-{name}'
        )
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path}, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        codes[name] = done.returncode
    assert codes == {"good": 0, "bad": 3, "wrong": 2}
    assert [path.name for path in tmp_path.glob("promoted-*")] == ["promoted-good"]
    assert open_artifact(tmp_path / "bad").read_json("metrics.json")["verdicts"][0]["met"] is False
    assert not (tmp_path / "wrong").exists()
    keep("evaluate-gate", [codes])
