"""What the gallery page of a run shows: the first pictures with their prompts before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from darkroom.jobs.generate.config import GenerateConfig
from darkroom.pages.gallery import Card, Gallery, render_gallery

FILE_NAME = "gallery.html"


def gallery_page(
    config: GenerateConfig, tables: Iterable[pa.Table], *, num_rows: int, num_cut: int
) -> bytes:
    """The page; reads no more tables than it shows."""
    cards = [_card(config, row) for row in _first_rows(tables, config.gallery)]
    figures = [("pictures" if config.draw else "prompts", f"{num_rows:,}")]
    if config.draw is not None:
        figures += [
            ("drawn by", _short(config.draw.model)),
            ("steps", str(config.draw.num_steps)),
            ("guidance", f"{config.draw.guidance_scale:g}"),
            ("prompts cut by the text encoder", f"{num_cut:,}"),
        ]
    if config.enhance is not None:
        figures.append(("prompts enhanced by", _short(config.enhance.model)))
    figures.append(("seed", str(config.seed)))
    shown = "all of them" if len(cards) == num_rows else f"the first {len(cards)}"
    gallery = Gallery(
        title="Gallery",
        subtitle=f"Drawn from the prompt “{config.prompt}”; {shown}, in the order of the input."
        if config.draw
        else f"Prompts from “{config.prompt}”; {shown}, in the order of the input.",
        figures=figures,
        cards=cards,
        footer="Every row with its seed and model digests is in data/, every picture by its id in "
        "images/." if config.draw and config.image_files else "Every row is in data/.",
    )  # fmt: skip
    return render_gallery(gallery).encode()


def _first_rows(tables: Iterable[pa.Table], count: int) -> Iterator[Mapping[str, Any]]:
    left = count
    for table in tables:
        yield from table.slice(0, left).to_pylist()
        left -= len(table)
        if left <= 0:
            return


def _card(config: GenerateConfig, row: Mapping[str, Any]) -> Card:
    enhanced = row.get("enhanced_prompt")
    cut = row.get("num_tokens_cut") or 0
    return Card(
        title=row["id"],
        text=enhanced or row["prompt"],
        note=f"from: {row['prompt']}" if enhanced else "",
        image=row.get("image"),
        chips=[f"{name}: {row[name]}" for name in config.choices],
        warning=f"the text encoder cut off {cut} tokens" if cut else "",
    )


def _short(name: str) -> str:
    """The last parts of a URI or path; a page is often shown to others."""
    return "/".join(name.rstrip("/").split("/")[-2:])
