"""Proof: the same pipeline in two buckets gives the same content, under digests of its own.

Two S3 servers, two roots, the whole pipeline from the shell: whatever tells of a time or of a place
must lie outside of what the content digest covers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
KINDS = ["data", "model", "samples", "evaluation", "report"]


def digests(home: Path, name: str) -> tuple[list[str], list[str]]:
    """Manifest and content digests of the five artifacts, made below s3://NAME/."""
    environment = {
        **os.environ,
        "DARKROOM_RECIPE": "digits_smoke",
        "DARKROOM_ROOT": f"s3://{name}/here/{name}",
        "DARKROOM_REPORT": str(home / "report"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [f"{BIN}/darkroom", "storage", "serve", "--data", f"{home}/s3", "--bucket", name, "--",
         "examples/digits.sh"],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "digest" in line]
    return (
        [line[1] for line in lines if line[0] == "digest"],
        [line[1] for line in lines if line[0] == "content_digest"],
    )


def test_two_runs_in_two_buckets_have_one_content(tmp_path: Path) -> None:
    first = digests(tmp_path / "first", "one-bucket")
    second = digests(tmp_path / "second", "another")
    for kind, *pair in zip(KINDS, *first, *second, strict=True):
        manifest, content, other_manifest, other_content = pair
        sys.stdout.write(f"{kind:10}  content {content[:16]} {other_content[:16]}, ")
        sys.stdout.write(f"manifest {manifest[:16]} {other_manifest[:16]}\n")
        assert manifest != other_manifest
    assert first[1] == second[1]
