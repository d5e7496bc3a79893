"""The page is one self-contained file, whatever text it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np

from darkroom.pages.page import (
    Bitmap,
    Block,
    Chip,
    Figure,
    Folded,
    KeyFigure,
    Page,
    Paragraph,
    PictureTable,
    Section,
    SideBySide,
    Table,
    render_page,
)
from darkroom.pages.plots import ScheduleCurves, schedule_plots
from darkroom.pages.sheet import enlarge

HOSTILE = "<script>alert('&\"')</script>"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """Elements as they open; fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*blocks: Block) -> Page:
    return Page(
        title=HOSTILE,
        subtitle="subtitle",
        key_figures=[KeyFigure("accuracy", "97 %", HOSTILE, "good")],
        sections=[Section("only", "Heading", blocks, "lead")],
    )


def every_block() -> list[Block]:
    betas = [0.1, 0.2, 0.3]
    picture = Bitmap(enlarge(np.zeros((8, 8), dtype=np.uint8)), HOSTILE)
    plot = Figure(schedule_plots([ScheduleCurves("linear", betas, betas, betas)])[0].svg, HOSTILE)
    return [
        plot,
        SideBySide([plot, plot], num_columns=3),
        PictureTable(["real", HOSTILE], [("7", [picture, picture]), (HOSTILE, [picture])]),
        PictureTable(["t = 0"], [("7", [picture])], style="strip", caption="caption"),
        Table(["a", "b"], [[HOSTILE, [Chip("biased", "warn"), Chip(HOSTILE)]], ["1", Chip("x")]],
              numbers=frozenset({"a"}), code=frozenset({"b"})),
        Folded("train", '{"a": "<b>"}'),
        Paragraph(HOSTILE),
    ]  # fmt: skip


def parse(page: Page) -> tuple[str, Outline]:
    html = render_page(page)
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return html, outline


def test_text_is_escaped_everywhere() -> None:
    html, outline = parse(page_of(*every_block()))
    assert "<script" not in html
    assert outline.text.count("<script>alert('&\"')</script>") >= 6
    assert outline.elements[0][0] == "html"


def test_nothing_comes_from_outside() -> None:
    html, outline = parse(page_of(*every_block()))
    for tag, attributes in outline.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "#"))
    assert not re.findall(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_both_colour_schemes_are_served() -> None:
    html, _ = parse(page_of())
    assert "prefers-color-scheme: dark" in html


def test_pictures_stand_in_their_own_size_with_alternatives() -> None:
    _, outline = parse(page_of(*every_block()))
    pictures = [attributes for tag, attributes in outline.elements if tag == "img"]
    assert len(pictures) == 4
    assert all(item["width"] == "56" and item["alt"] == HOSTILE for item in pictures)


def test_sections_can_be_reached_from_the_top() -> None:
    _, outline = parse(page_of())
    assert ("a", {"href": "#only"}) in outline.elements
    assert ("section", {"id": "only"}) in outline.elements


def test_the_same_page_gives_the_same_bytes() -> None:
    assert render_page(page_of(*every_block())) == render_page(page_of(*every_block()))
