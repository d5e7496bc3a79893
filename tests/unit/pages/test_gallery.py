"""The gallery page stands alone, escapes what it is told, and stays small."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from darkroom.pages.gallery import THUMBNAIL_PIXELS, Card, Gallery, render_gallery


def png(size: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def page(*cards: Card) -> str:
    return render_gallery(Gallery("Title", "Sub", [("pictures", "2")], cards, "Foot"))


def sources(html: str) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', html)


def test_a_page_needs_nothing_from_outside() -> None:
    html = page(Card("one", "a fox", png(8)), Card("two", "no picture", None))
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert len(sources(html)) == 1


def test_texts_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    html = page(Card(evil, evil, png(8), note=evil, chips=[evil], warning=evil))
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 6  # five texts, and the picture's alternative text


def test_tiny_pictures_keep_their_pixels_and_large_ones_shrink() -> None:
    tiny, large = page(Card("t", "", png(8))), page(Card("l", "", png(800)))
    assert 'class="tiny"' in tiny
    assert base64.b64decode(sources(tiny)[0].partition(",")[2]) == png(8)
    assert 'class="tiny"' not in large
    kind, _, data = sources(large)[0].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == THUMBNAIL_PIXELS


def test_a_page_is_a_function_of_what_it_is_given() -> None:
    cards = [Card("one", "a fox", png(400)), Card("two", "an owl", png(8))]
    assert page(*cards) == page(*cards)
