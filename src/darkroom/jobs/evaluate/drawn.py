"""A model as the input: what it draws is drawn first, by `darkroom sample` and its settings.

The pictures are an ordinary output of `sample` below the evaluation's, `drawn/input` and
`drawn/against`; a run that goes on finds them there. Two models are drawn with one seed and the
same settings, so they are compared picture by picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from darkroom.config import build_config
from darkroom.errors import ConfigError, InputError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.by_name import config_type_of, job_of
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.measuring.gate import check_gate
from darkroom.jobs.measuring.measurement import Inputs
from darkroom.jobs.measuring.reference import find_reference
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


def drawn_inputs(config: EvaluateConfig) -> Inputs:
    """Where the pictures are; those of models are drawn, or begun before and gone on with.

    Errors: ConfigError for settings of `sample` without a model, and those of `sample`.
    """
    inputs = Inputs(config.input, config.reference, config.against)
    given = {"input": config.input, "against": config.against}
    models = {field: uri for field, uri in given.items() if uri and is_model(uri, field)}
    if config.sample and not models:
        raise ConfigError(
            "sample", None, "says how a model draws, and the input is pictures",
            "leave it out, or give the URI of a model",
        )  # fmt: skip
    drawing = {field: _drawing(config, uri, field) for field, uri in models.items()}
    _check(config, drawing)
    for settings in drawing.values():
        job_of("sample")(settings)
    places = {field: settings.output for field, settings in drawing.items()}
    return replace(
        inputs,
        generated=places.get("input", inputs.generated),
        against=places.get("against", inputs.against),
    )


def _check(config: EvaluateConfig, drawing: Mapping[str, Any]) -> None:
    """What would be refused when all is drawn is refused before.

    Errors: OutputExistsError; ConfigError for requirements that could not be judged.
    """
    if drawing and config.on_existing == "refuse":
        open_output(config.output, kind=Kind.EVALUATION, config=config)
    if "input" in drawing and config.require:
        second = drawing.get("against")
        check_gate(
            config.require, config.gate, metrics=config.wanted, skipped={},
            num_images=drawing["input"].total, reference=find_reference(config.reference).content,
            # Of a second set that is no model it is not known yet.
            num_against=None if config.against is None else (second or drawing["input"]).total,
        )  # fmt: skip


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
