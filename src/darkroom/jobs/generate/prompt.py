"""Rows to prompts: the id, the choices drawn by it, the template filled. Runs on the driver.

Cheap, and before anything is started: a column that is missing is one error, a row that lacks a
value or whose prompt is too long is a dead letter before a model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.generate.config import (
    OUTPUT_COLUMNS,
    ClassConditionalConfig,
    GenerateConfig,
    fill,
    placeholders,
)
from darkroom.jobs.generate.join import inner_join
from darkroom.jobs.generate.seeding import choose
from darkroom.jobs.rejects import Reject
from darkroom.jobs.seeding import draw_order
from darkroom.jobs.tables.row import Row, set_aside
from darkroom.jobs.tables.table import read_table, unknown_column
from darkroom.storage import Parent

MAX_ID_CHARS = 200

_NAME = re.compile(r"[\w .()-]+")


@dataclass(frozen=True)
class Prompts:
    """What goes into the pipeline, and what does not."""

    table: pa.Table
    """id, the input's columns, the choices, prompt: all texts."""
    bad: Sequence[Reject]
    parents: Sequence[Parent]


def build_prompts(config: GenerateConfig) -> Prompts:
    """Read, rename, join, draw choices, fill the template.

    Errors: DataError for columns that are missing or not to be used, or no row at all.
    """
    subjects = read_table(config.input, config.rename, name="input")
    columns, rows, places = subjects.columns, subjects.rows, subjects.places
    left_out = dict(subjects.left_out)
    bad, parents = list(subjects.bad), [subjects.parent]
    if config.join is not None:
        if config.join.input is None:
            raise ConfigError(
                "join.input", None, "is required", "name the details by --join, or set join to null"
            )
        details = read_table(config.join.input, config.join.rename, name="join.input")
        joined = inner_join(subjects, details, config.join)
        columns, rows, places = joined.columns, joined.rows, joined.places
        bad += [replace(reject, id=f"details {reject.id}") for reject in details.bad]
        bad += joined.unmatched
        parents.append(details.parent)
        left_out.update(details.left_out)
    _check_columns(config, columns, left_out)
    carried = [name for name in columns if name not in ("id", "prompt")]
    made: dict[int, Row] = {}
    order: Sequence[int] = range(len(rows))
    if config.limit is not None:
        bad = []  # a quick look tells of the rows that it looked at
        # Tables are sorted by something, and a join repeats a subject: draw over the subjects.
        names = [f"{place} {at}" for at, place in enumerate(places)]
        order = draw_order(names, places, seed=config.seed)
    for at in order:
        if len(made) == config.limit:
            break
        outcome = _prompt_row(config, rows[at], carried, places[at])
        if isinstance(outcome, Reject):
            bad.append(outcome)
        else:
            made[at] = outcome
    if not made:
        raise DataError("input", config.input, _nothing(bad), "correct the rows")
    names = ["id", *carried, *config.choices, "prompt"]
    schema = pa.schema([(name, pa.string()) for name in names])
    return Prompts(
        pa.Table.from_pylist([made[at] for at in sorted(made)], schema=schema), bad, parents
    )


def _check_columns(
    config: GenerateConfig, columns: Sequence[str], left_out: Mapping[str, str]
) -> None:
    known = [*columns, *config.choices]
    for column in columns:
        if column in OUTPUT_COLUMNS - {"id", "prompt"}:
            raise DataError(
                "rename", column, "is a column that the output has itself", "rename the input's"
            )
        if column in config.choices:
            raise DataError("choices", column, "is a column of the input already", "rename one")
    for name, template in (("id", config.id), ("prompt", config.prompt)):
        if name in columns and name not in placeholders(template):
            raise DataError(
                name, template, f"leaves out the input's column {name!r}, whose place it takes",
                f"use {{{name}}} in it, or rename the column",
            )  # fmt: skip
    wanted = [("id", config.id, columns), ("prompt", config.prompt, known)]
    if isinstance(config.draw, ClassConditionalConfig):
        template = config.draw.class_template
        wanted.append(("draw.class_template", template, [*known, "prompt"]))
    for field, template, allowed in wanted:
        for name in placeholders(template):
            if name not in allowed:
                problem, remedy = unknown_column(name, allowed, left_out)
                if not _NAME.fullmatch(name):  # JSON, say
                    remedy += "; double braces that are part of the text: {{ }}"
                raise DataError(field, template, problem, remedy)


def _prompt_row(
    config: GenerateConfig, row: Row, carried: Iterable[str], place: str
) -> Row | Reject:
    for name in dict.fromkeys([*placeholders(config.id), *placeholders(config.prompt)]):
        if name not in config.choices and row[name] is None:
            return set_aside(place, "missing", f"{name} is empty", stage="prompt")
    values = {name: value for name, value in row.items() if value is not None}
    row_id = fill(config.id, values)
    if len(row_id) > MAX_ID_CHARS or not row_id.isprintable():
        wanted = f"an id is one line of at most {MAX_ID_CHARS} characters"
        return set_aside(place, "id", wanted, stage="prompt")
    values |= {
        name: choose(options, seed=config.seed, name=name, row_id=row_id)
        for name, options in config.choices.items()
    }
    prompt = fill(config.prompt, values)
    if len(prompt) > config.max_prompt_chars:
        return set_aside(
            place, "too_long",
            f"id {row_id!r}: {len(prompt)} characters, {config.max_prompt_chars} are allowed",
            stage="prompt",
        )  # fmt: skip
    return {
        "id": row_id,
        **{name: row[name] for name in carried},
        **{name: values[name] for name in config.choices},
        "prompt": prompt,
    }


def _nothing(bad: Sequence[Reject]) -> str:
    if not bad:
        return "has no rows"
    return f"has no usable row ({len(bad)} are bad; {bad[0].id}: {bad[0].detail})"
