"""The HTML page: typed content in, one self-contained file out.

The page needs nothing from outside (a content security policy in it forbids it), runs no
script, and follows the reader's light or dark setting. All text is escaped; only the plots'
SVG, which we make ourselves, goes in as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from jinja2 import Template
from markupsafe import Markup
from PIL.Image import Image

from darkroom.pages.sheet import png_bytes
from darkroom.pages.template import environment

Mood = Literal["", "good", "bad", "warn"]


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers at the top."""

    name: str
    value: str
    note: str
    mood: Mood = ""


@dataclass(frozen=True)
class Bitmap:
    """A bitmap to stand in the page, and what it shows for who cannot see it."""

    image: Image
    alt: str

    @property
    def data_uri(self) -> str:
        """The PNG itself as a URI."""
        return f"data:image/png;base64,{base64.b64encode(png_bytes(self.image)).decode()}"


@dataclass(frozen=True)
class Figure:
    """A plot and its title, which is text of the page."""

    kind: ClassVar[str] = "figure"
    svg: str
    title: str

    @property
    def markup(self) -> Markup:
        """The SVG, trusted: it comes from `style.to_svg`, which escapes what it is given."""
        return Markup(self.svg)  # noqa: S704


@dataclass(frozen=True)
class SideBySide:
    """Plots beside each other where the page is wide enough, at most so many in a line."""

    kind: ClassVar[str] = "side"
    figures: Sequence[Figure]
    num_columns: Literal[2, 3] = 2


@dataclass(frozen=True)
class PictureTable:
    """Named rows of pictures under named columns."""

    kind: ClassVar[str] = "pictures"
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Bitmap | None]]]
    """A row's name and its cells; None leaves a cell empty."""
    caption: str = ""
    style: Literal["pictures", "strip"] = "pictures"
    """strip: single frames close together, the columns being moments."""


@dataclass(frozen=True)
class Chip:
    """A word in a table that carries a judgement."""

    text: str
    mood: Mood = ""


Cell = str | Chip | Sequence[str | Chip]


@dataclass(frozen=True)
class Table:
    """Text in rows; columns named in `numbers` are aligned as numbers."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    """Columns set in a fixed-width face."""
    fixed: frozenset[str] = frozenset()
    """Columns whose text is not broken into lines."""


@dataclass(frozen=True)
class Folded:
    """Long text that opens on a click."""

    kind: ClassVar[str] = "folded"
    summary: str
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A few sentences between other blocks."""

    kind: ClassVar[str] = "paragraph"
    text: str


Block = Figure | SideBySide | PictureTable | Table | Folded | Paragraph


@dataclass(frozen=True)
class Section:
    """A headed part of the page; `id` is its anchor."""

    id: str
    heading: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """Everything on the page, in reading order."""

    title: str
    subtitle: str
    key_figures: Sequence[KeyFigure]
    sections: Sequence[Section]
    footer: str = ""


def render_page(page: Page) -> str:
    """The page as HTML text."""
    return _template().render(page=page)


@cache
def _template() -> Template:
    pages = environment()
    pages.tests["chip"] = lambda cell: isinstance(cell, Chip)
    return pages.get_template("page.html.j2")
