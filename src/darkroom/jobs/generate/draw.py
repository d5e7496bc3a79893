"""What the drawing stage is asked for: each row's enhanced prompt, prompt or class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.errors import DarkroomError
from darkroom.jobs.drawing.drawer import Request
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.generate.config import ClassConditionalConfig, GenerateConfig, fill
from darkroom.jobs.generate.seeding import row_seed
from darkroom.models.find import FoundModel

PURPOSE = "draw"


def draw_stage(
    values: Mapping[str, Any], model: FoundModel, lora: FoundModel | None = None
) -> DrawStage:
    """The stage's function, on a worker."""
    from darkroom.jobs.drawing.load import load_drawer  # imports torch

    config = build_config(GenerateConfig, values)
    if config.draw is None:
        raise DarkroomError("the draw stage was built without its settings")
    return DrawStage(
        partial(load_drawer, config.draw, model, lora=lora, prefix="draw."),
        partial(requests_of, config),
        batch_size=config.draw.batch_size,
    )


def requests_of(config: GenerateConfig, table: pa.Table) -> list[Request]:
    """What the rows ask for, each with its own seed."""
    ids = table["id"].to_pylist()
    return [
        Request(row_id, text, row_seed(config.seed, PURPOSE, row_id))
        for row_id, text in zip(ids, _texts(config, table), strict=True)
    ]


def _texts(config: GenerateConfig, table: pa.Table) -> list[str]:
    if isinstance(config.draw, ClassConditionalConfig):
        template = config.draw.class_template
        return [
            fill(template, {name: value or "" for name, value in row.items()})
            for row in table.to_pylist()
        ]
    enhanced = "enhanced_prompt" in table.column_names
    texts: list[str] = table["enhanced_prompt" if enhanced else "prompt"].to_pylist()
    return texts
