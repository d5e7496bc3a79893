"""Proof: the page draws a first picture within 60 s of `darkroom serve`'s start, in a real browser.

A digits model is trained as in `test_serve_proof.py`. Chromium, by Playwright, draws a 7 with
previews, changes the seed, cancels by the keyboard, copies the curl line, which is run, and is
looked at: desktop, dark, phone. `build/proofs/serve-page/` has the screenshots, to be seen by a
person, and `build/proofs/serve-page.json` the figures. The seconds count from the command to the
picture on the page, the browser's own start included.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.browser import browser_python, visit
from tests.helpers.digits_model import train
from tests.helpers.proof import FOLDER, keep
from tests.helpers.served import served

MOST_SECONDS = 60


def test_the_first_picture_comes_within_a_minute(tmp_path: Path) -> None:
    python = browser_python(tmp_path / "browser")
    place = train(tmp_path)
    pictures = FOLDER / "serve-page"
    with served(place) as service:
        seen = visit(python, service.address, pictures)
        curl = ["bash", "-c", seen["curl"]]
        drawn = subprocess.run(curl, cwd=tmp_path, capture_output=True, text=True, check=False)
    seconds = seen["first_picture_at"] - service.began
    keep("serve-page", [{"seconds to the first picture": round(seconds, 1), **seen}])
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "picture.png").read_bytes() == (pictures / "seven.png").read_bytes()
    assert seen["previews"] == 3
    assert seen["seed_changes_it"]
    assert seen["same_seed_same_picture"]
    assert seen["history"] == 3
    assert seen["complaints"] == []
    assert not seen["wide"]
    assert not seen["wide_on_a_phone"]
    assert seconds <= MOST_SECONDS, f"{seconds:.0f} s"
