"""`darkroom report`: one self-contained HTML page about a trained model, or about evaluations.

Reads what the other verbs published and computes nothing new but the forward strip. Runs in
one process: there is nothing here that a cluster would speed up.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.evaluation import METRICS_FILE, Evaluation
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.artifacts.model import FinetunedInfo, TrainedModel
from darkroom.jobs.artifacts.report import REPORT_FILE, ReportInfo
from darkroom.jobs.report.attempts import attempts_section
from darkroom.jobs.report.comparable import open_comparable
from darkroom.jobs.report.compared import (
    comparison_json,
    comparison_markdown,
    comparison_plot,
    evaluations_page,
)
from darkroom.jobs.report.config import ReportConfig
from darkroom.jobs.report.finetuned import finetuned_page
from darkroom.jobs.report.measures import key_figures
from darkroom.jobs.report.pictures import generated_pictures, real_pictures
from darkroom.jobs.report.sections import (
    duration,
    forward_section,
    measures_section,
    moment,
    pictures_section,
    provenance_section,
    reverse_section,
    settings_section,
    training_section,
)
from darkroom.jobs.report.sources import Sources, check_parts, find_sources
from darkroom.pages.page import KeyFigure, Page, render_page
from darkroom.storage import Artifact, Output, Parent, open_artifact, open_output, parse_uri


def run(config: ReportConfig) -> dict[str, Any]:
    """Write and publish the page. Errors: those of storage, DataError for parts of two runs."""
    if open_artifact(config.input).manifest.kind == Kind.EVALUATION:
        return _report_evaluations(config)
    model = open_artifact(config.input, kind=Kind.MODEL)
    if config.beside:
        raise ConfigError(
            "beside", list(config.beside), "belongs to a report about evaluations",
            "give an evaluation as input too, or leave it out",
        )  # fmt: skip
    if FinetunedInfo.found_in(model) is not None:
        return _report_finetuned(config, model)
    sources = find_sources(config)
    with _output(config, sources.parents()) as output:
        if output.completed is not None:
            return _result(output.completed)
        evaluation = None if sources.evaluation is None else Evaluation.of(sources.evaluation)
        html = render_page(build_page(config, sources, evaluation)).encode()
        # It names URIs and times: a page about one run.
        files = [output.writer.write_bytes(REPORT_FILE, html, content=False)]
        if sources.evaluation is not None:
            metrics = sources.evaluation.read_bytes(METRICS_FILE)
            files.append(output.writer.write_bytes(METRICS_FILE, metrics))
        info = ReportInfo(title=_title(config))
        return _result(output.publish(files, metadata=info.to_metadata()))


def _report_finetuned(config: ReportConfig, model: Artifact) -> dict[str, Any]:
    check_parts(config, "a fine-tuned model's report")
    with _output(config, [model.as_parent("model")]) as output:
        if output.completed is not None:
            return _result(output.completed)
        html = render_page(finetuned_page(model, title=_title(config))).encode()
        files = [output.writer.write_bytes(REPORT_FILE, html, content=False)]
        info = ReportInfo(title=_title(config))
        return _result(output.publish(files, metadata=info.to_metadata()))


def _report_evaluations(config: ReportConfig) -> dict[str, Any]:
    check_parts(config, "a report about evaluations")
    evaluations = open_comparable([config.input, *config.beside])
    parents = [one.artifact.as_parent("evaluation") for one in evaluations]
    with _output(config, parents) as output:
        if output.completed is not None:
            return _result(output.completed)
        plot = comparison_plot(evaluations)
        html = render_page(evaluations_page(evaluations, plot, title=_title(config))).encode()
        write = output.writer.write_bytes
        files = [write(REPORT_FILE, html, content=False)]
        if config.beside:
            files += [
                write("comparison.json", comparison_json(evaluations)),
                # It has the names of the evaluations' places.
                write("comparison.md", comparison_markdown(evaluations), content=False),
                *([write("comparison.svg", plot.svg.encode())] if plot is not None else ()),
            ]
        info = ReportInfo(title=_title(config))
        return _result(output.publish(files, metadata=info.to_metadata()))


def _output(config: ReportConfig, parents: Sequence[Parent]) -> AbstractContextManager[Output]:
    return open_output(
        config.output, kind=Kind.REPORT, config=config, parents=parents,
        on_existing=config.on_existing,
    )  # fmt: skip


def build_page(config: ReportConfig, sources: Sources, evaluation: Evaluation | None) -> Page:
    """Everything on the page, from what was published."""
    real = {} if sources.data is None else real_pictures(sources.data, config.num_pictures)
    generated = (
        {} if sources.samples is None else generated_pictures(sources.samples, config.num_pictures)
    )
    sections = [
        pictures_section(real, generated),
        measures_section(evaluation),
        training_section(sources.model),
        attempts_section(sources.model.info.account),
        forward_section(sources.model.info.schedule, real, config.seed),
        reverse_section(sources.samples),
        settings_section(sources),
        provenance_section(sources),
    ]
    return Page(
        title=_title(config),
        subtitle=_subtitle(sources.model),
        key_figures=[*(key_figures(evaluation) if evaluation else ()), _training_figure(sources)],
        sections=[section for section in sections if section is not None],
        footer=f"Made by darkroom report from model {sources.model.artifact.digest[:12]}. "
        "This file needs nothing else: keep it, mail it, open it offline.",
    )


def _title(config: ReportConfig) -> str:
    return config.title or parse_uri(config.output, field="output").name


def _subtitle(model: TrainedModel) -> str:
    info, artifact = model.info, model.artifact
    kind = "greyscale" if info.channels == 1 else "colour"
    of = f" of {len(info.classes)} classes" if info.classes else ""
    return (
        f"A pixel-space diffusion model of {info.shape.width} x {info.shape.height} {kind} "
        f"pictures{of}; published {moment(artifact.manifest.created_at)}, digest "
        f"{artifact.digest[:12]}."
    )


def _training_figure(sources: Sources) -> KeyFigure:
    info = sources.model.info
    note = f"{info.step:,} steps"
    drawing = sources.samples.info.figures if sources.samples is not None else None
    if drawing is not None:
        note += f"; {drawing['rows_per_second']:.0f} pictures/s drawn"
    return KeyFigure("Training", duration(info.seconds), note)


def _result(artifact: Artifact) -> dict[str, Any]:
    page = artifact.entry(REPORT_FILE)
    return {
        **names_of(artifact),
        "report": str(artifact.uri / page.key),
        "bytes": page.size,
    }
