"""The job verbs: one row of a table each, and the one command that all of them are.

A verb's config is `darkroom.jobs.<verb>.config.<Verb>Config`, its job is the `run(config)` of
`darkroom.jobs.<verb>.job`. Both are imported when the verb runs, so `--help` costs neither
pydantic nor ray, and `--show-config` no ray. A flag is a short name for one config field.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import output
from darkroom.errors import ConfigError

if TYPE_CHECKING:
    from darkroom.config import JobConfig


@dataclass(frozen=True)
class Flag:
    """One option of a verb. Without a field, the command line itself answers to it."""

    name: str
    help: str
    field: str | None = None
    """Dotted path of the config field that it sets."""
    metavar: str | None = None
    type: Any = str
    read: Callable[[Any], Any] = lambda value: value
    """From what was typed to the field's plain value; the config checks it."""

    @property
    def parameter(self) -> inspect.Parameter:
        """As typer reads it off a signature."""
        optional = self.type if self.type is bool else self.type | None
        option = typer.Option(f"--{self.name}", help=self.help, metavar=self.metavar)
        return inspect.Parameter(
            self.key,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if self.type is bool else None,
            annotation=Annotated[optional, option],
        )

    @property
    def key(self) -> str:
        """The option's name as a Python name."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Verb:
    """A job as the command line knows it."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What a run without a recipe starts from."""

    @property
    def config_type(self) -> type[JobConfig]:
        """The class of the verb's config; imports pydantic, never ray or torch."""
        from darkroom.jobs.by_name import config_type_of

        return config_type_of(self.name)

    def run(self, config: JobConfig) -> Mapping[str, Any]:
        """Do the job; imports ray and torch."""
        from darkroom.jobs.by_name import job_of

        return job_of(self.name)(config)


def _scalar(text: str) -> Any:
    """`3` as a number, `cat` as a text: what the same characters would be in the config file."""
    from darkroom.plain_yaml import parse_scalar

    return parse_scalar(text, where="command line") if text else text


def _item(text: str) -> list[str]:
    """Taken apart at its commas only where the names are known, some of which have commas."""
    return [text]


def _uri(name: str, text: str) -> Flag:
    return Flag(name, text, name, "URI")


def _number(name: str, text: str, field: str | None = None) -> Flag:
    return Flag(name, text, field or name.replace("-", "_"), "N", read=_scalar)


def _switch(name: str, text: str, field: str | None = None) -> Flag:
    return Flag(name, text, field, type=bool)


SHARED_FLAGS = (
    Flag("recipe", "Start from a named recipe; `darkroom recipes` lists them.", metavar="NAME"),
    Flag("config", "Settings of this verb as YAML, over the recipe's.", metavar="FILE", type=Path),
    Flag(
        "set",
        "Set one field, over everything else; repeatable.",
        metavar="A.B=VALUE",
        type=list[str],
    ),
    _uri("output", "Where to publish: s3://bucket/prefix or a path."),
    _switch("resume", "Finish an interrupted run, or keep a finished one."),
    _switch("overwrite", "Replace what is published at the output."),
    _number("seed", "Everything random derives from it."),
    _number("limit", "A quick look: at most N inputs or pictures."),
    _switch("show-config", "Print the resolved settings as YAML, and do nothing."),
    _switch("json", "Print one JSON object on stdout, for an error too."),
    _switch("debug", "Show tracebacks and debug logs (also DARKROOM_DEBUG=1)."),
)

_CAPTIONED_INPUT = _uri("input", "Captioned data that `darkroom prepare` published.")
_BASE = _uri("base", "A diffusers folder (path or s3:// URI) or a hub id.")
_NUM_WORKERS = _number("num-workers", "Data-parallel workers.", "workers.num_workers")

VERBS = (
    Verb(
        "prepare",
        "Check, augment and resize pictures, and store them as Parquet.",
        (
            Flag(
                "input",
                "A folder of pictures with one subfolder per class, or what source.kind says.",
                "source.uri",
                "URI",
            ),
        ),
        settings={"source": {"kind": "image_folder"}},
    ),
    Verb(
        "cache",
        "Encode pictures and captions once, for fine-tuning.",
        (
            _CAPTIONED_INPUT,
            _BASE,
            Flag("reuse", "An earlier cache, to take from what is still right.", "reuse", "URI"),
            _number("variants", "Encodings per picture."),
        ),
    ),
    Verb(
        "train",
        "Train a class-conditional diffusion model.",
        (
            _uri("input", "Data that `darkroom prepare` published."),
            _NUM_WORKERS,
        ),
    ),
    Verb(
        "finetune",
        "Fine-tune a text-to-image model on captioned pictures: LoRA or in full.",
        (
            _CAPTIONED_INPUT,
            _BASE,
            _uri("cache", "What `darkroom cache` made of these data with this base."),
            _NUM_WORKERS,
        ),
    ),
    Verb(
        "tune",
        "Try many settings of train or finetune, and keep the best.",
        (
            _uri("input", "Data that `darkroom prepare` published, for every run."),
            _number("trials-at-once", "Runs at a time; by default what the cluster holds."),
            _number("confirm", "Train the best again with N further seeds."),
        ),
    ),
    Verb(
        "sample",
        "Draw pictures with a trained model.",
        (
            _uri("input", "A model of `darkroom train` or `finetune`, or a diffusers folder."),
            _number("num-images", "How many pictures, over all classes or prompts."),
            Flag("classes", "Names or indices, as cat,dog or 0,3.", "classes", "LIST", read=_item),
            Flag("prompt", "What a text-to-image model draws.", "text.prompts", "TEXT", read=_item),
            Flag("lora", "A LoRA over that model.", "text.lora.model", "URI"),
            Flag("sampler", "ddpm, ddim or dpm-solver++.", "sampler", "NAME"),
            _number("steps", "Calls of the model per picture.", "num_steps"),
            _number("guidance-scale", "Classifier-free guidance; 1 is off."),
            _switch("strip", "Keep frames of the reverse process too.", "strip"),
        ),
    ),
    Verb(
        "evaluate",
        "Measure drawn pictures against real ones.",
        (
            _uri(
                "input",
                "What `darkroom sample` published, a folder of pictures, or a model.",
            ),
            _uri("reference", "Prepared data, a folder, or an evaluation that kept its reference."),
            _uri("against", "A second set of pictures, or model, to be measured beside the first."),
            Flag(
                "require",
                "What a figure must be, as kid_inception<0.01; repeatable. Exit 3 if it is not.",
                "require",
                "FIGURE<N",
                type=list[str],
            ),
        ),
    ),
    Verb(
        "classify",
        "Label pictures with a torchvision or timm model.",
        (
            _uri("input", "A folder of pictures, or what `darkroom prepare` published."),
            Flag("model", "The model's name: resnet152, vit_b_16.", "model.name", "NAME"),
            Flag("library", "Where the name is known: torchvision or timm.", "model.library"),
            Flag("weights", "A file (path or URI), hub, hub:NAME or random.", "model.weights"),
            _number("batch-size", "Pictures that the model sees at once."),
        ),
    ),
    Verb(
        "generate",
        "Make prompts of tables, and pictures of prompts.",
        (
            _uri("input", "Subjects: a CSV or Parquet file, or a folder of them."),
            Flag("join", "Details to join by id, likewise.", "join.input", "URI"),
            Flag("prompt", "The prompt, with columns in braces.", "prompt", "TEXT"),
            Flag("model", "What draws: a diffusers folder or a hub id.", "draw.model", "URI"),
            Flag("llm", "What enhances prompts: a folder or a hub id.", "enhance.model", "URI"),
            _number("steps", "Calls of the model per picture.", "draw.num_steps"),
        ),
    ),
    Verb(
        "report",
        "Put a run on one self-contained HTML page.",
        (
            _uri("input", "A model that `train` or `finetune` published, or an evaluation."),
            Flag(
                "beside",
                "A further evaluation, to stand beside it; repeatable.",
                "beside",
                "URI",
                type=list[str],
            ),
            _uri("data", "Its data, when not the model's own parent."),
            _uri("samples", "Samples to show."),
            _uri("evaluation", "An evaluation to show."),
        ),
    ),
)


def add_verbs(app: typer.Typer) -> None:
    """Add one command per row of VERBS."""
    for verb in VERBS:
        app.command(verb.name, help=verb.summary)(_command(verb))


def _command(verb: Verb) -> Callable[..., None]:
    flags = (*verb.flags, *SHARED_FLAGS)

    def command(**options: Any) -> None:
        _run(verb, flags, options)

    # typer makes its options from the signature.
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [flag.parameter for flag in flags]
    )
    return command


def _run(verb: Verb, flags: tuple[Flag, ...], options: Mapping[str, Any]) -> None:
    config = _resolve(verb, flags, options)
    as_json: bool = options["json"]
    if options["show_config"]:
        output.print_config(config, as_json=as_json)
        return
    from darkroom.jobs.caches import caches_of_this_run

    with output.stdout_to_stderr(), caches_of_this_run():
        result = verb.run(config)
    output.print_result(result, as_json=as_json)


def _resolve(verb: Verb, flags: tuple[Flag, ...], options: Mapping[str, Any]) -> JobConfig:
    from darkroom.config_source import load_config
    from darkroom.recipes import get_recipe

    name: str | None = options["recipe"]
    return load_config(
        verb.config_type,
        recipe=verb.settings if name is None else get_recipe(name).settings(verb.config_type),
        file=options["config"],
        flags={
            **{
                flag.field: flag.read(options[flag.key])
                for flag in flags
                if flag.field is not None and options[flag.key] not in (None, False, [])
            },
            **_on_existing(resume=options["resume"], overwrite=options["overwrite"]),
        },
        settings=options["set"] or (),
    )


def _on_existing(*, resume: bool, overwrite: bool) -> dict[str, str]:
    if resume and overwrite:
        raise ConfigError("--resume", None, "contradicts --overwrite", "give one of them")
    if resume:
        return {"on_existing": "resume"}
    return {"on_existing": "overwrite"} if overwrite else {}
