"""Relative paths mean the driver's folder, on a Ray whose workers stand elsewhere.

The pictures are of a size that is halved to an odd one, and come out as large as they went in.

The folder's name has what S3 would refuse in a key; it is a link, as scratch folders often are.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from darkroom.cli import main

SMALL = (
    *("--set", "max_steps=2", "--set", "batch_size=8", "--set", "lr_schedule.warmup_steps=1"),
    *("--set", "checkpoint.every_steps=2", "--set", "validation.every_steps=2"),
    *("--set", "unet.block_out_channels=[8,16,16]", "--set", "unet.attention_resolutions=[7]"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "e\u0301 #1? "
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "link")
    return folder


def run(*arguments: str) -> None:
    assert main([*arguments]) == 0


def test_every_verb_takes_relative_paths(ray_local: None, here: Path) -> None:
    smoke = ("--recipe", "digits_smoke")
    few = ("--limit", "60", "--set", "image_size=[28,28]")
    run("prepare", *smoke, *few, "--output", "../link/data/")
    run("train", *smoke, *SMALL, "--input", "data", "--output", "./model")
    run("sample", *smoke, "--limit", "4", "--input", "model", "--output", "samples")
    pictures = list((here / "samples").rglob("images/*.png"))
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(picture) as drawn:
            assert (drawn.size, drawn.mode) == ((28, 28), "L")
    run("report", *smoke, "--input", "model", "--samples", "samples", "--output", "report")
    (here / "subjects.csv").write_text("id,prompt\n002,a cat\n")
    run("generate", "--input", "subjects.csv", "--set", "draw=null", "--output", "prompts")
    assert {path.name for path in here.iterdir()} >= {
        *("data", "model", "samples", "report", "prompts")
    }
