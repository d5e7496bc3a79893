"""One look for every plot, as SVG that follows the page.

Whatever is drawn in INK becomes the page's own text colour, so a plot is legible on a light
and on a dark page. Text stays text: small files, and a reader can select and search it.
Plots are deterministic: the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#123456"
"""Stands for the page's text colour until `to_svg` replaces it."""
BLUE, ORANGE, GREEN, VIOLET, RED = "#4a8df0", "#e8833a", "#22a97d", "#9a6be0", "#e0527a"

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "axes.formatter.useoffset": False,
}


@contextmanager
def panel(salt: str, *, width: float = 4.2, height: float = 2.8) -> Iterator[tuple[Figure, Axes]]:
    """One plot of that many inches, which a narrow page can still show whole, in the one look.

    `salt` keeps the ids of two plots on a page apart. A plot has no title of its own: the page's
    text breaks into lines where a picture would be cut.
    """
    with mpl.rc_context({**_RC, "svg.hashsalt": salt}):
        figure = Figure(figsize=(width, height))
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
        yield figure, figure.subplots()


def to_svg(figure: Figure, description: str) -> str:
    """The figure as an <svg> element to stand in HTML, `description` for who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )  # fmt: skip
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids of groups ("axes_1") would occur once per plot of the page; nothing refers to them.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    label = escape(description, quote=True)
    svg = re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>",
        lambda found: f'<svg {_NAMESPACES} {found[1]} role="img" aria-label="{label}">',
        svg,
        count=1,
    )
    return svg.replace(INK, "currentColor")
