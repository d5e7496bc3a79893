"""A gallery page: many pictures with their texts on one self-contained HTML file.

Needs nothing from outside and runs no script, like the report. Large pictures stand on it as
small JPEGs; tiny ones keep their pixels. The page is a pure function of what it is given.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from darkroom.pages.template import environment

THUMBNAIL_PIXELS = 320
_TINY_PIXELS = 64
_SMALL_BYTES = 16 * 1024


@dataclass(frozen=True)
class Card:
    """One picture and what is said of it."""

    title: str
    text: str
    image: bytes | None
    """Encoded; None shows the texts alone."""
    note: str = ""
    """In small print."""
    chips: Sequence[str] = ()
    warning: str = ""

    @property
    def is_tiny(self) -> bool:
        """Whether its pixels should be seen as squares."""
        return self.image is not None and max(_open(self.image).size) <= _TINY_PIXELS

    @property
    def data_uri(self) -> str:
        """The picture itself, small enough for a page of hundreds."""
        return picture_uri(self.image or b"")


@dataclass(frozen=True)
class Gallery:
    """Everything on the page."""

    title: str
    subtitle: str
    figures: Sequence[tuple[str, str]]
    """Names and values at the top."""
    cards: Sequence[Card]
    footer: str = ""


def render_gallery(gallery: Gallery) -> str:
    """The page as HTML text."""
    return environment().get_template("gallery.html.j2").render(gallery=gallery)


def picture_uri(data: bytes, *, max_pixels: int = THUMBNAIL_PIXELS) -> str:
    """An encoded picture as a URI: a small PNG as it is, any other as a thumbnail.

    Errors: OSError for what is no picture.
    """
    picture = _open(data)
    if picture.format == "PNG" and len(data) <= _SMALL_BYTES:
        return _uri("png", data)
    picture = picture.convert("RGB")
    picture.thumbnail((max_pixels, max_pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return _uri("jpeg", buffer.getvalue())


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
