"""Proof: a C2PA implementation that is none of c2pa-python's takes signed pictures for valid.

It is @trustnxt/c2pa-ts, pure TypeScript, from npm by a lock of hashes, in a folder of its own. It
reads PNG and JPEG, and checks hashes and signatures; it keeps no list of roots. For WebP no other
verifier was found: there `tests/unit/jobs/drawing/test_signing.py` has c2pa-python's word alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.certificates import signing_files
from tests.helpers.proof import write_json

from darkroom.config import build_config
from darkroom.jobs.drawing.config import SigningConfig
from darkroom.jobs.drawing.picture_bytes import SOURCE_TYPE, Origin, picture_bytes
from darkroom.jobs.drawing.signing import signing_of

VERIFIER = Path(__file__).parents[1] / "fixtures" / "c2pa_verifier"
VALIDATED = {"claimSignature.validated": True, "assertion.dataHash.match": True}


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: no verifier but c2pa-python's own")
    folder = tmp_path_factory.mktemp("verifier")
    shutil.copytree(VERIFIER, folder, dirs_exist_ok=True)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True
    )
    return folder


def verify(verifier: Path, *pictures: Path) -> list[dict[str, Any]]:
    run = subprocess.run(
        ["node", "verify.mjs", *pictures], cwd=verifier, check=True, capture_output=True, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_another_verifier_says_the_same(verifier: Path, tmp_path: Path) -> None:
    sign = signing_of(build_config(SigningConfig, signing_files(tmp_path / "key")))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    paths = [tmp_path / name for name in ("picture.png", "picture.jpeg", "changed.png")]
    png, jpeg, changed = paths
    png.write_bytes(picture_bytes(pixels, Origin("m", 7, "p"), sign=sign))
    jpeg.write_bytes(picture_bytes(pixels, Origin("m", 7, "p"), format="jpeg", sign=sign))
    data = bytearray(png.read_bytes())
    data[data.rindex(b"IDAT") + 20] ^= 1
    changed.write_bytes(data)
    found = verify(verifier, *paths)
    write_json("signing", dict(zip([path.name for path in paths], found, strict=True)))
    *sound, broken = found
    for each in sound:
        assert each["valid"] is True, each
        assert VALIDATED.items() <= each["found"].items()
        assert each["program"] == "Darkroom"
        (action,) = each["actions"]
        assert action["action"] == "c2pa.created"
        assert action["digitalSourceType"] == SOURCE_TYPE
    assert broken["valid"] is False
    assert broken["found"]["assertion.dataHash.mismatch"] is False
