"""Darkroom from Python, for notebooks and programs: one function per verb, and `open`.

    import darkroom

    data = darkroom.prepare(recipe="digits", output="digits/data")
    model = darkroom.train(recipe="digits", input=data, output="digits/model", max_steps=300)
    model.draw(classes=["3", "7"])

Each function builds the config that the command line would build (recipe < `config` file <
keywords), runs the same job, and returns what is then published, typed (`darkroom.published`). A
keyword is a field of the verb's config; a mapping reaches into a field that has fields of its own,
so `optimizer={"learning_rate": 1e-3}` leaves the recipe's other optimizer settings alone.

Errors are `darkroom.errors`: what the user can mend is one line with field, value and remedy.
Ctrl-C, which is what a notebook's stop button sends, unwinds the job and stops its Ray; with
`on_existing="resume"` the same call goes on. A Ray that the caller has started is used and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.config import JobConfig
    from darkroom.published import (
        ClassifiedPictures,
        DiffusionModel,
        DrawnPictures,
        EncodedPictures,
        FinetunedModel,
        MeasuredPictures,
        PreparedData,
        PromptedPictures,
        Published,
        ReportPage,
        TunedStudy,
    )
    from darkroom.storage import Artifact

Source = str | PathLike[str]
"""A URI, a path, or what an earlier call has returned."""


def prepare(
    *,
    output: Source,
    input: Source | None = None,  # noqa: A002 - the field's name
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> PreparedData:
    """Check, augment and resize pictures, and store them as Parquet.

    input: a folder of pictures with one subfolder per class, or what `source.kind` says; recipes
    may name a source of their own. settings: docs/verbs/prepare.md.
    """
    from darkroom.config_source import merge
    from darkroom.published import PreparedData

    source: dict[str, object] = {} if recipe is not None else {"kind": "image_folder"}
    if input is not None:
        source["uri"] = input
    return PreparedData(
        _run("prepare", recipe, config, merge({"source": source}, settings), output)
    )


def cache(
    *,
    input: Source,  # noqa: A002 - the field's name
    base: Source,
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> EncodedPictures:
    """Encode pictures and captions once, for fine-tuning. settings: docs/verbs/cache.md."""
    from darkroom.published import EncodedPictures

    values = {**settings, "input": input, "base": base}
    return EncodedPictures(_run("cache", recipe, config, values, output))


def train(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> DiffusionModel:
    """Train a class-conditional diffusion model. settings: docs/verbs/train.md."""
    from darkroom.published import DiffusionModel

    return DiffusionModel(_run("train", recipe, config, {**settings, "input": input}, output))


def finetune(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> FinetunedModel:
    """Fine-tune a text-to-image model by LoRA or in full. settings: docs/verbs/finetune.md."""
    from darkroom.published import FinetunedModel

    return FinetunedModel(_run("finetune", recipe, config, {**settings, "input": input}, output))


def tune(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> TunedStudy:
    """Try many settings of train or finetune, and keep the best. settings: docs/verbs/tune.md."""
    from darkroom.published import TunedStudy

    return TunedStudy(_run("tune", recipe, config, {**settings, "input": input}, output))


def sample(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> DrawnPictures:
    """Draw pictures with a trained model. settings: docs/verbs/sample.md.

    `DiffusionModel.draw` draws a few at once, in this process, and publishes nothing.
    """
    from darkroom.published import DrawnPictures

    return DrawnPictures(_run("sample", recipe, config, {**settings, "input": input}, output))


def evaluate(
    *,
    input: Source,  # noqa: A002 - the field's name
    reference: Source,
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> MeasuredPictures:
    """Measure drawn pictures against real ones. settings: docs/verbs/evaluate.md."""
    from darkroom.published import MeasuredPictures

    values = {**settings, "input": input, "reference": reference}
    return MeasuredPictures(_run("evaluate", recipe, config, values, output))


def classify(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> ClassifiedPictures:
    """Label pictures with a torchvision or timm model. settings: docs/verbs/classify.md."""
    from darkroom.published import ClassifiedPictures

    return ClassifiedPictures(
        _run("classify", recipe, config, {**settings, "input": input}, output)
    )


def generate(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> PromptedPictures:
    """Make prompts of tables, and pictures of prompts. settings: docs/verbs/generate.md."""
    from darkroom.published import PromptedPictures

    return PromptedPictures(_run("generate", recipe, config, {**settings, "input": input}, output))


def report(
    *,
    input: Source,  # noqa: A002 - the field's name
    output: Source,
    recipe: str | None = None,
    config: Source | None = None,
    **settings: object,
) -> ReportPage:
    """Put a run on one self-contained HTML page. settings: docs/verbs/report.md."""
    from darkroom.published import ReportPage

    return ReportPage(_run("report", recipe, config, {**settings, "input": input}, output))


def open(uri: Source) -> Published:  # noqa: A001 - darkroom.open, as in PIL.Image.open
    """What is published at `uri`, by whomever and wherever, as the verb's function returns it."""
    from darkroom.published import published
    from darkroom.storage import open_artifact

    return published(open_artifact(fspath(uri)))


def _run(
    verb: str,
    recipe: str | None,
    config: Source | None,
    settings: Mapping[str, object],
    output: Source,
) -> Artifact:
    """Build the config, do the job, and open what it published."""
    from darkroom.jobs.caches import caches_of_this_run
    from darkroom.storage import open_artifact

    checked = _config(verb, recipe, config, {**settings, "output": output})
    with caches_of_this_run():
        import_module(f"darkroom.jobs.{verb}.job").run(checked)
    return open_artifact(checked.output)


def _config(
    verb: str, recipe: str | None, config: Source | None, settings: Mapping[str, object]
) -> JobConfig:
    """Recipe < file < settings, validated once."""
    from darkroom.config_source import load_config
    from darkroom.jobs.by_name import config_type_of
    from darkroom.recipes import get_recipe

    config_type = config_type_of(verb)
    return load_config(
        config_type,
        recipe=get_recipe(recipe).settings(config_type) if recipe is not None else None,
        file=Path(config) if config is not None else None,
        values=_plain(settings),
    )


def _plain(value: object) -> Any:
    """Of a setting: what the config's JSON has."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return fspath(value) if isinstance(value, PathLike) else value
