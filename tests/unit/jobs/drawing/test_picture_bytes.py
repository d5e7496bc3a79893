"""Pictures say what they are, in every format, and equal pixels and origins give equal bytes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from darkroom.jobs.drawing.picture_bytes import (
    SOURCE_TYPE,
    FileFormat,
    Origin,
    picture_bytes,
    prompt_digest,
)

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
FORMATS = get_args(FileFormat)
ORIGIN = Origin('m&"1', 2**64 - 1, prompt_digest("a fox"), lora_digest="<l2>")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)


def description(data: bytes) -> dict[str, str]:
    """Attributes of the packet's one description, as Pillow finds the packet, without prefixes."""
    with Image.open(io.BytesIO(data)) as image:
        packet = ET.fromstring(image.info["xmp"].strip(b"\0"))  # noqa: S314 - our own
    (found,) = packet.iter(f"{{{RDF}}}Description")
    return {name.rpartition("}")[2]: text for name, text in found.attrib.items()}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]], ids=["rgb", "grey"])
def test_a_picture_carries_its_origin(kind: FileFormat, pixels: Any) -> None:
    data = picture_bytes(pixels, ORIGIN, format=kind)
    assert data == picture_bytes(pixels.copy(), ORIGIN, format=kind)
    found = description(data)
    assert found["DigitalSourceType"] == SOURCE_TYPE
    assert found["ModelDigest"] == 'm&"1'
    assert found["LoraDigest"] == "<l2>"
    assert found["Seed"] == str(2**64 - 1)
    assert found["PromptDigest"] == prompt_digest("a fox")


def test_without_a_lora_none_is_named() -> None:
    assert "LoraDigest" not in description(picture_bytes(PIXELS, Origin("m", 0, "p")))


@pytest.mark.parametrize(("kind", "quality"), [("png", None), ("webp", 100)])
def test_lossless_formats_keep_every_pixel(kind: FileFormat, quality: int | None) -> None:
    data = picture_bytes(PIXELS, ORIGIN, format=kind, quality=quality)
    assert (np.asarray(Image.open(io.BytesIO(data))) == PIXELS).all()


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_less_quality_takes_less_space(kind: FileFormat) -> None:
    sizes = [len(picture_bytes(PIXELS, ORIGIN, format=kind, quality=q)) for q in (0, 50, 99)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
@pytest.mark.parametrize("kind", FORMATS)
def test_exiftool_reads_the_same(kind: FileFormat, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{kind}"
    path.write_bytes(picture_bytes(PIXELS, Origin("ab12", 7, "cd34"), format=kind))
    run = subprocess.run(
        ["exiftool", "-json", "-n", "-XMP:all", "-warning", path], check=True, capture_output=True
    )
    (found,) = json.loads(run.stdout)
    assert found["DigitalSourceType"] == SOURCE_TYPE
    assert (found["ModelDigest"], found["Seed"], found["PromptDigest"]) == ("ab12", 7, "cd34")
    assert "Warning" not in found
