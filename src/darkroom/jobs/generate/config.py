"""What `darkroom generate` reads, how it makes prompts of it, and what draws them.

Every stage can be left out: `join: null`, no choices, `enhance: null`, `draw: null`. Batch sizes
belong to the digest: which rows share a batch decides the last bit of what a model computes.
Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from darkroom.config import Config, ModelPlace, NonNegativeFloat, Place, PositiveInt, operational
from darkroom.jobs.batch.config import BatchConfig
from darkroom.jobs.drawing.config import (
    ClassDrawingConfig,
    SigningConfig,
    TextDrawingConfig,
    WorkerConfig,
)

ColumnName = Annotated[str, Field(pattern=r"^[^{}\s]([^{}\r\n\t]*[^{}\s])?$")]
"""Any name that a template can hold: `animal name` as well."""
Renames = dict[str, ColumnName]
Choices = dict[ColumnName, Annotated[tuple[str, ...], Field(min_length=1)]]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}|([{}])")

OUTPUT_COLUMNS = frozenset(
    {"id", "prompt", "enhanced_prompt", "num_tokens", "num_tokens_cut", "seed", "image", "sha256"}
    | {"file_name", "num_steps", "guidance_scale", "width", "height", "llm", "llm_digest"}
    | {"model", "model_digest"}
)
"""Columns that the job writes itself; the input's must have other names."""


def placeholders(template: str) -> list[str]:
    """Names between braces, in order. Errors: ValueError for a lone brace."""
    names = []
    for match in _PLACEHOLDER.finditer(template):
        if match[2]:
            raise ValueError(
                f"{template!r} has a lone {match[2]!r}; write {{column}} for a value, "
                f"{match[2] * 2} for the character"
            )
        if match[1]:
            names.append(_name(match))
    return names


def _name(match: re.Match[str]) -> str:
    """As tables have it, whichever way the accents of the template are written."""
    return unicodedata.normalize("NFC", match[1])


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every {name} replaced; values are taken as they are, braces included."""

    def value(match: re.Match[str]) -> str:
        return values[_name(match)] if match[1] else match[0][0]

    return _PLACEHOLDER.sub(value, template)


class JoinConfig(Config):
    """A second table whose columns are added to each row: an inner join."""

    input: Annotated[Place | None, operational()] = None
    """URI of the details, a table like the input. A recipe leaves it to --join."""
    rename: Renames = Field(default={})
    """Column of that table -> its name from here on."""
    on: Annotated[tuple[ColumnName, ...], Field(min_length=1)] = ("id",)
    """Columns, after renaming, that must be equal in both tables."""
    unmatched: Literal["report", "refuse"] = "report"
    """report: rows without a partner become dead letters. refuse: they stop the job."""


class EnhanceConfig(WorkerConfig):
    """A language model rewrites each prompt."""

    batch_size: PositiveInt = 8
    """Prompts that the model takes at once; independent of the other stages and of piece_rows."""
    model: Annotated[ModelPlace, operational()] = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    """A folder that transformers reads (path or s3:// URI), or a hub id."""
    gguf_file: str | None = None
    """Name of the GGUF file in that folder; null for safetensors."""
    system_prompt: str = (
        "You turn a short description into one vivid sentence for an illustrator: subject, "
        "setting, light and style. Answer with that sentence and nothing else."
    )
    """What the model is told before each prompt."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    """Most tokens of an answer; a longer one is cut there."""
    temperature: NonNegativeFloat = 0.0
    """0 takes the likeliest token each time; above 0 samples, seeded by the row's id."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sampling keeps the likeliest tokens that together have this probability."""
    backend: Literal["auto", "transformers", "vllm"] = "auto"
    """auto takes vLLM where it is installed and the stage has a GPU, else transformers."""


class TextToImageConfig(TextDrawingConfig):
    """Any diffusers text-to-image pipeline."""

    kind: Literal["text_to_image"] = "text_to_image"
    """Names the way of drawing."""
    model: Annotated[ModelPlace, operational()] = "stabilityai/sdxl-turbo"
    """A diffusers folder (path or s3:// URI), or a hub id."""
    batch_size: PositiveInt = 8
    """Pictures drawn at once; which ones share a batch decides their last bit."""


class ClassConditionalConfig(ClassDrawingConfig):
    """A class-conditional model that `darkroom train` published."""

    kind: Literal["class_conditional"]
    """Names the way of drawing."""
    model: Annotated[Place, operational()]
    """URI of the model."""
    class_template: str = "{prompt}"
    """Names the class: a column in braces, or {prompt}."""
    batch_size: PositiveInt = 8
    """Pictures drawn at once; which ones share a batch decides their last bit."""

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        placeholders(self.class_template)
        return self


def _kind(value: Any) -> str:
    """`--model URI` alone names no kind: a text-to-image pipeline is meant."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind or "text_to_image"


DrawConfig = Annotated[
    Annotated[TextToImageConfig, Tag("text_to_image")]
    | Annotated[ClassConditionalConfig, Tag("class_conditional")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be text_to_image or class_conditional",
    ),
]


class GenerateConfig(BatchConfig):
    """Rows of a table become prompts, and prompts pictures."""

    input: Annotated[Place, operational()]
    """URI of the subjects: a CSV or Parquet file, a folder of them, or what Darkroom published."""
    rename: Renames = Field(default={})
    """Column of the input -> its name from here on."""
    join: JoinConfig | None = None
    """A second table to join; null for none."""
    id: str = "{id}"
    """Names each row, uniquely: columns in braces. Every random draw of a row derives from it."""
    choices: Choices = Field(default={})
    """New column -> the values that each row draws one of, by its id."""
    prompt: str = "{prompt}"
    """The prompt: columns and choices in braces, {{ for a brace."""
    max_prompt_chars: PositiveInt = 2000
    """Longer prompts become dead letters."""
    piece_rows: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Rows that are committed together. A killed run redoes at most the pieces in flight."""
    enhance: EnhanceConfig | None = None
    """A language model that rewrites prompts; null uses them as they are."""
    draw: DrawConfig | None = TextToImageConfig()
    """What draws; null ends with prompts."""
    image_files: bool = True
    """Also write each picture as images/<id>.png."""
    gallery: Annotated[int, Field(ge=0, le=1000)] = 200
    """Pictures on the gallery page, the first of the table; 0 makes no page."""

    signing: SigningConfig | None = None
    """A C2PA manifest in every picture; null for none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.signing is not None and self.draw is None:
            raise ValueError("signing is of pictures, and draw null makes none; leave out one")
        for name, template in (("id", self.id), ("prompt", self.prompt)):
            if not placeholders(template):
                raise ValueError(f"{name} {template!r} names no column; write one as {{column}}")
        if reserved := OUTPUT_COLUMNS & set(self.choices):
            raise ValueError(f"choices: {min(reserved)} is a column of the output; rename it")
        if used := set(self.choices) & set(placeholders(self.id)):
            raise ValueError(
                f"id uses the choice {min(used)}, which is drawn by the id; use columns"
            )
        return self
