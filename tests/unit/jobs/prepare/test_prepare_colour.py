"""A picture is grey when its pixels are, and a set is when all of its pictures are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.idx_files import idx_pair

from darkroom.config import build_config
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare.colour import HEAD_BYTES, Glance, look_at, says_grey
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import PlannedPiece
from darkroom.jobs.prepare.rows import item_table
from darkroom.jobs.prepare.sources import open_source

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
COLOUR = np.stack([RAMP, RAMP, RAMP[::-1].T], axis=-1)
ONE_RED_PIXEL = np.stack([RAMP] * 3, axis=-1)
ONE_RED_PIXEL[63, 63] = 200, 100, 100


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def grey_palette() -> Image.Image:
    image = Image.fromarray(RAMP)
    return image.convert("RGB").quantize(64)


GREY = {
    "grey PNG": encoded(Image.fromarray(RAMP)),
    "1 bit": encoded(Image.fromarray(RAMP).convert("1")),
    "16 bits": encoded(Image.fromarray(RAMP.astype(np.uint16) * 257)),
    "grey and alpha": encoded(Image.fromarray(RAMP).convert("LA")),
    "grey JPEG": encoded(Image.fromarray(RAMP), "JPEG"),
    "grey saved as RGB": encoded(Image.fromarray(RAMP).convert("RGB")),
    "grey saved as RGBA": encoded(Image.fromarray(RAMP).convert("RGBA")),
    "grey saved as RGB JPEG": encoded(Image.fromarray(RAMP).convert("RGB"), "JPEG", quality=60),
    "grey saved as WebP": encoded(Image.fromarray(RAMP).convert("RGB"), "WEBP", lossless=True),
    "grey palette": encoded(grey_palette()),
}
COLOURED = {
    "RGB": encoded(Image.fromarray(COLOUR)),
    "RGB JPEG": encoded(Image.fromarray(COLOUR), "JPEG"),
    "palette": encoded(Image.fromarray(COLOUR).quantize(64)),
    "WebP": encoded(Image.fromarray(COLOUR), "WEBP"),
    "one pixel": encoded(Image.fromarray(ONE_RED_PIXEL)),
}


@pytest.fixture
def look(tmp_path: Path) -> Callable[[dict[str, bytes]], Glance]:
    def look_at_files(files: dict[str, bytes]) -> Glance:
        items = []
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            items.append(Item(id=name, path=name, size=len(data)))
        source = {"kind": "image_folder", "uri": str(tmp_path)}
        config = build_config(PrepareConfig, {"output": "/out", "source": source})
        return look_at(item_table(PlannedPiece("train", items)), config.to_dict())

    return look_at_files


def test_every_kind_of_grey_is_grey(look: Callable[[dict[str, bytes]], Glance]) -> None:
    assert look(GREY) == Glance(None, len(GREY))


@pytest.mark.parametrize("kind", COLOURED)
def test_one_picture_with_colour_decides(
    kind: str, look: Callable[[dict[str, bytes]], Glance]
) -> None:
    assert look({**GREY, "x": COLOURED[kind]}) == Glance("x", len(GREY))
    assert look({"x": COLOURED[kind], **GREY}).num_grey == 0


def test_what_cannot_be_decoded_has_no_say(look: Callable[[dict[str, bytes]], Glance]) -> None:
    half = COLOURED["RGB"][: len(COLOURED["RGB"]) // 2]
    assert (
        look({"half": half, "text": b"<html>", "none": b"", "ok": GREY["grey PNG"]}).num_grey == 1
    )


def test_a_long_file_is_known_by_its_head(look: Callable[[dict[str, bytes]], Glance]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    long = encoded(Image.fromarray(noise))
    assert len(long) > HEAD_BYTES
    assert says_grey(long[:HEAD_BYTES])
    as_rgb = encoded(Image.fromarray(noise).convert("RGB"))
    assert not says_grey(as_rgb[:HEAD_BYTES])
    assert look({"grey": long, "as RGB": as_rgb}) == Glance(None, 2)


@pytest.mark.parametrize(("shape", "has_colour"), [((6, 5), False), ((6, 5, 3), True)])
def test_idx_files_are_looked_at_too(
    shape: tuple[int, ...], has_colour: bool, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), dtype=np.uint8)
    for name, data in idx_pair("train", images, np.arange(8, dtype=np.uint8)).items():
        (tmp_path / name).write_bytes(data)
    source = {"kind": "idx", "uri": str(tmp_path)}
    config = build_config(PrepareConfig, {"output": "/out", "source": source})
    items = open_source(config.source).listing().items
    look = look_at(item_table(PlannedPiece("train", items)), config.to_dict())
    assert (look.coloured is not None, look.num_grey) == (has_colour, 0 if has_colour else 8)
