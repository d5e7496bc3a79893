"""Contact sheets: many small pictures on one, with labels.

Takes uint8 arrays (H x W, or H x W x 3) of one size and gives PIL images. Small pictures are
enlarged by whole factors without smoothing, so that a pixel stays a pixel.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distribution
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

MIN_TILE_PIXELS = 56
_GAP = 4
_MARGIN = 12
_FONT_PIXELS = 15
_PAPER = (255, 255, 255)
_INK = (40, 44, 52)


def grey_levels(x: NDArray[np.floating[Any]]) -> Pixels:
    """Values in [-1, 1], of any shape, as 0 .. 255; what lies outside is clamped."""
    levels: Pixels = ((x.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
    return levels


def as_picture(image_CHW: Pixels) -> Pixels:
    """One image as H x W (one channel) or H x W x C."""
    return np.ascontiguousarray(
        image_CHW[0] if len(image_CHW) == 1 else image_CHW.transpose(1, 2, 0)
    )


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet."""

    label: str
    images: Sequence[Pixels] = field(repr=False)


def enlarge(image: Pixels, min_pixels: int = MIN_TILE_PIXELS) -> Image.Image:
    """The picture as RGB, its pixels repeated until the longer side has `min_pixels`."""
    picture = Image.fromarray(image).convert("RGB")
    factor = max(1, -(-min_pixels // max(picture.size)))
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )


def tile(images: Sequence[Pixels], *, num_columns: int, min_pixels: int = MIN_TILE_PIXELS,
         gap: int = _GAP) -> Image.Image:  # fmt: skip
    """Pictures in rows of `num_columns`, with clear gaps: no labels, no margin."""
    tiles = [enlarge(image, min_pixels) for image in images]
    width, height = tiles[0].size
    num_rows = -(-len(tiles) // num_columns)
    sheet = Image.new(
        "RGBA",
        (num_columns * (width + gap) - gap, num_rows * (height + gap) - gap),
        (0, 0, 0, 0),
    )
    for index, picture in enumerate(tiles):
        row, column = divmod(index, num_columns)
        sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet


def contact_sheet(
    rows: Sequence[SheetRow], *, title: str = "", column_labels: Sequence[str] = ()
) -> Image.Image:
    """Rows of pictures on white, each row labelled on the left, columns on top when named."""
    font = _font(_FONT_PIXELS)
    columns = max(len(row.images) for row in rows)
    left = _MARGIN + max(_text_width(row.label, font) for row in rows) + _MARGIN
    widest_label = max((_text_width(text, font) for text in column_labels), default=0)
    tile_width, tile_height = enlarge(rows[0].images[0]).size
    step = max(tile_width, widest_label) + _GAP
    line = _FONT_PIXELS + 8
    top = _MARGIN + (line if title else 0) + (line if column_labels else 0)
    width = left + columns * step - _GAP + _MARGIN
    if title:
        width = max(width, _text_width(title, font) + 2 * _MARGIN)
    sheet = Image.new(
        "RGB", (width, top + len(rows) * (tile_height + _GAP) - _GAP + _MARGIN), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN), title, font=font, fill=_INK)
    for column, text in enumerate(column_labels):
        centre = left + column * step + (step - _GAP) / 2
        draw.text((centre, top - 5), text, font=font, fill=_INK, anchor="ms")
    for index, row in enumerate(rows):
        y = top + index * (tile_height + _GAP)
        draw.text(
            (left - _MARGIN, y + tile_height / 2), row.label, font=font, fill=_INK, anchor="rm"
        )
        for column, image in enumerate(row.images):
            x = left + column * step + (step - _GAP - tile_width) // 2
            sheet.paste(enlarge(image), (x, y))
    return sheet


def picture_sheet(
    rows: Mapping[str, Any], *, columns: Sequence[str] = (), title: str = ""
) -> Image.Image:
    """A contact sheet of named rows: each uint8 or, in [-1, 1], floating N x C x H x W.

    Takes arrays and CPU tensors alike.
    """
    named = {label: np.asarray(images) for label, images in rows.items()}
    return contact_sheet(
        [
            SheetRow(
                label,
                [
                    as_picture(image if image.dtype == np.uint8 else grey_levels(image))
                    for image in images
                ],
            )
            for label, images in named.items()
        ],
        title=title,
        column_labels=columns,
    )


def png_bytes(image: Image.Image | Pixels) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    # matplotlib ships DejaVu Sans: the same letters on every machine, and most scripts. It is
    # looked up and not imported, which costs every actor that draws 0.2 s and 36 MB.
    font = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(str(font), pixels)


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(np.ceil(font.getlength(text)))
