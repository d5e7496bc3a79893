"""A model as the input: what it draws is drawn first, by `darkroom sample` and its settings.

The pictures are an ordinary output of `sample` below the evaluation's, `drawn/input` and
`drawn/against`; a run that goes on finds them there. Two models are drawn with one seed and the
same settings, so they are compared picture by picture.

Drawing takes long, and replaces what was drawn before. So whatever can be refused is refused first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from darkroom.config import build_config
from darkroom.errors import ConfigError, InputError, ObjectNotFoundError, OutputExistsError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.batch.ownership import begun_runs
from darkroom.jobs.by_name import config_type_of, foresight_of
from darkroom.jobs.drawing.foreseen import ForeseenPictures
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.measuring.measurement import Inputs
from darkroom.jobs.measuring.planning import Foresight, foresee
from darkroom.messages import with_article
from darkroom.storage import open_artifact, open_output, open_store, parse_uri
from darkroom.storage.manifest import DRAWN_PREFIX


def is_model(uri: str, field: str) -> bool:
    """Whether pictures would have to be drawn: a published model, or a diffusers folder.

    field: the config's, which errors name.
    """
    root = parse_uri(uri, field=field)
    try:
        return open_artifact(root).manifest.kind == Kind.MODEL
    except ObjectNotFoundError:
        return open_store(root).head("model_index.json") is not None


def drawn_inputs(config: EvaluateConfig) -> tuple[Inputs, Foresight | None]:
    """Where the pictures are; those of models are drawn, or begun before and gone on with.

    Errors: ConfigError for settings of `sample` without a model, and those of `sample`, of planning
    and of the output, before anything is drawn.
    """
    inputs = Inputs(config.input, config.reference, config.against)
    models = {field: uri for field, uri in inputs.sets if is_model(uri, field)}
    if not models:
        if config.sample:
            raise ConfigError(
                "sample", None, "says how a model draws, and the input is pictures",
                "leave it out, or give the URI of a model",
            )  # fmt: skip
        return inputs, None
    if config.on_existing == "refuse":
        open_output(config.output, kind=Kind.EVALUATION, config=config)
    settings = {field: _drawing(config, uri, field) for field, uri in models.items()}
    drawn = {field: _foreseen(one, field) for field, one in settings.items()}
    foresight = foresee(config, inputs, drawn, limit=config.limit, seed=config.seed)
    _check_output(config, drawn, foresight)
    for one in drawn.values():
        one.draw()
    places = {field: one.output for field, one in settings.items()}
    inputs = replace(
        inputs,
        generated=places.get("input", inputs.generated),
        against=places.get("against", inputs.against),
    )
    return inputs, foresight


def _check_output(
    config: EvaluateConfig, drawn: Mapping[str, ForeseenPictures], foresight: Foresight
) -> None:
    """What could not be published there. Errors: OutputExistsError; UriError for an input."""
    if config.on_existing != "resume":
        of_models = (parent for one in drawn.values() for parent in one.parents)
        parents = (*of_models, *foresight.parents)
        open_output(config.output, kind=Kind.EVALUATION, config=config, parents=parents)
    elif not all(one.are_drawn for one in drawn.values()) and (found := _found_at(config.output)):
        raise OutputExistsError(
            "output", config.output, f"{found}, and not of pictures that were drawn here so",
            "use the same values, another output, or --overwrite",
        )  # fmt: skip


def _found_at(output: str) -> str:
    """What was made or begun there: it descends from pictures that are there, or from others."""
    try:
        return f"{with_article(open_artifact(output).manifest.kind)} is published here"
    except ObjectNotFoundError:
        return "an evaluation was begun here" if begun_runs(open_store(output)) else ""


def _foreseen(settings: Any, field: str) -> ForeseenPictures:
    """What `sample` would draw. Errors: its own, by the names that they have here."""
    try:
        foreseen: ForeseenPictures = foresight_of("sample")(settings)
    except InputError as error:
        name = error.field
        if name == "input":
            name = field
        elif name != "output" and name.partition(".")[0] in type(settings).model_fields:
            name = f"sample.{name}"
        if name == error.field:
            raise
        raise type(error)(name, error.value, error.problem, error.remedy) from None
    return foreseen


def _drawing(config: EvaluateConfig, model: str, field: str) -> Any:
    """The config of `sample` for one model. Errors: InputError naming sample.* fields."""
    values = {
        "seed": config.seed, **config.sample, "input": model,
        "output": f"{config.output.rstrip('/')}/{DRAWN_PREFIX}{field}",
        "on_existing": "overwrite" if config.on_existing == "overwrite" else "resume",
    }  # fmt: skip
    if config.limit is not None:
        values["limit"] = config.limit
    try:
        return build_config(config_type_of("sample"), values)
    except InputError as error:
        raise type(error)(
            f"sample.{error.field}", error.value, error.problem, error.remedy
        ) from None
