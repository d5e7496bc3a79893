"""The page's sections, in reading order, from what was published.

Each function makes one section, or None when its part is not there. Reads through artifacts
only; how anything looks is `darkroom.pages`'s business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from darkroom.diffusion.config import ScheduleConfig, ScheduleKind
from darkroom.diffusion.schedule import NoiseSchedule, build_schedule
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.evaluation import Evaluation
from darkroom.jobs.artifacts.model import OutOfMemory, TrainedModel
from darkroom.jobs.artifacts.samples import Samples
from darkroom.jobs.measuring.words import pairing
from darkroom.jobs.report.measures import differences_table, measure_plots, measures_table
from darkroom.jobs.report.pictures import (
    MAX_CLASSES,
    PicturesByClass,
    forward_strip,
    reverse_strip,
    side_by_side,
)
from darkroom.jobs.report.sources import Sources
from darkroom.pages.page import Block, Cell, Chip, Folded, Paragraph, Section, SideBySide, Table
from darkroom.pages.plots import ScheduleCurves, TrainingLog, schedule_plots, training_plots
from darkroom.storage import Artifact
from darkroom.storage.ancestry import Ancestor, lineage

_KINDS: tuple[ScheduleKind, ...] = ("linear", "cosine", "sigmoid")


def pictures_section(real: PicturesByClass, generated: PicturesByClass) -> Section | None:
    """Real and generated pictures of each class."""
    if not any(generated.values()) and not any(real.values()):
        return None
    num_classes = len({*real, *generated})
    more = f" The first {MAX_CLASSES} classes are shown." if num_classes >= MAX_CLASSES else ""
    return Section(
        "pictures", "Pictures", [side_by_side(real, generated)],
        "The first pictures of each class: none were picked by hand." + more,
    )  # fmt: skip


def forward_section(config: ScheduleConfig, real: PicturesByClass, seed: int) -> Section:
    """The noise schedule beside others, and what it does to real pictures."""
    own = build_schedule(config)
    blocks: list[Block] = [SideBySide(schedule_plots(_overlaid(config, own)), num_columns=3)]
    if any(real.values()):
        blocks.append(Paragraph("Real pictures with the noise of more and more timesteps:"))
        blocks.append(forward_strip(real, own, seed=seed))
    zero = ", rescaled to zero terminal SNR" if config.zero_terminal_snr else ""
    return Section(
        "forward", "Forward process", blocks,
        f"How pictures become noise: the {config.kind} schedule over {config.num_timesteps} "
        f"timesteps{zero}.",
    )  # fmt: skip


def reverse_section(samples: Samples | None) -> Section | None:
    """How noise becomes pictures."""
    strip = None if samples is None else reverse_strip(samples)
    if samples is None or strip is None:
        return None
    info = samples.info
    return Section(
        "reverse", "Reverse process", [strip],
        f"How noise becomes pictures: {info.num_steps} steps of {info.sampler}, "
        + ("no guidance." if info.guidance_scale == 1
           else f"guidance scale {info.guidance_scale:g}."),
    )  # fmt: skip


def training_section(model: TrainedModel) -> Section:
    """The curves of the metrics log."""
    table = model.metrics().to_pydict()
    log = TrainingLog(table.pop("step"), table)
    max_grad_norm = model.artifact.manifest.config.get("optimizer", {}).get("max_grad_norm")
    return Section(
        "training", "Training", [SideBySide(training_plots(log, max_grad_norm=max_grad_norm))],
        f"{model.info.step:,} optimizer steps in {duration(model.info.seconds)}."
        + memory_words(model.info.out_of_memory),
    )  # fmt: skip


def memory_words(events: Sequence[OutOfMemory]) -> str:
    """What training did when memory did not suffice."""
    if not events:
        return ""
    steps = sorted({event.step for event in events})
    return (
        f" Memory did not suffice at step{'s' * (len(steps) > 1)} {', '.join(map(str, steps))}: "
        f"the micro-batch went from {events[0].micro_batch_size} to "
        f"{events[-1].new_micro_batch_size} images, the batch stayed what it is."
    )


def measures_section(evaluation: Evaluation | None) -> Section | None:
    """The evaluation's figures."""
    if evaluation is None:
        return None
    reference, classifier = evaluation.reference, evaluation.classifier
    lead = f"{evaluation.num_images} generated pictures against {reference.num_test} real"
    lead += (
        f" test pictures; floors are {reference.num_train} real training pictures measured alike."
        if reference.num_train
        else " ones, of which there is no training split, and so no floor."
    )
    if dead := evaluation.num_dead_letters:
        lead += f" {dead} more files could not be used."
    if classifier:
        lead += (
            f" The reference classifier ({classifier.digest[:12]}) was trained on the training "
            f"split alone; it recognises {classifier.test_accuracy:.1%} of real test pictures."
        )
    blocks: list[Block] = [measures_table(evaluation)]
    if second := evaluation.against:
        blocks += [
            Paragraph(f"Beside {second.num_images} pictures of a second set. {pairing(second)}"),
            differences_table(evaluation, second),
        ]
    return Section("measures", "Measures", [*blocks, *measure_plots(evaluation)], lead)


def settings_section(sources: Sources) -> Section:
    """Every part's own config, folded."""
    verbs = {"data": "prepare", "model": "train", "samples": "sample", "evaluation": "evaluate"}
    parts = sources.artifacts()
    return Section(
        "settings", "Settings",
        [
            folded_settings(verb, parts[role])
            for role, verb in verbs.items()
            if role in parts
        ],
        "The complete config behind each part.",
    )  # fmt: skip


def folded_settings(verb: str, part: Artifact) -> Folded:
    """The config that a part was made by."""
    return Folded(verb, json.dumps(part.manifest.config, indent=2, ensure_ascii=False))


def provenance_section(sources: Sources) -> Section:
    """Every part and everything upstream of it, with digests."""
    parts = sources.artifacts()
    return origins([parts[role] for role in ("evaluation", "samples", "model") if role in parts])


def origins(parts: Sequence[Artifact]) -> Section:
    """These and everything upstream of them, with digests; the newest part first."""
    rows: list[Sequence[Cell]] = [
        [
            ancestor.kind,
            ancestor.uri,
            ancestor.digest,
            moment(ancestor.created_at) if ancestor.created_at else "",
            Chip("changed since", "bad") if ancestor.problems else "",
        ]
        for ancestor in _ancestors(parts)
    ]
    digest = "sha256 of its manifest"
    return Section(
        "provenance", "Provenance",
        [
            Table(
                ["kind", "where", digest, "published", ""], rows,
                code=frozenset({"where", digest}), fixed=frozenset({"published"}),
            )
        ],
        "What everything here was made from, the newest first. A digest covers a thing's files "
        "and its own parents; darkroom storage lineage reads and verifies all that was published.",
    )  # fmt: skip


def _ancestors(parts: Sequence[Artifact]) -> list[Ancestor]:
    """Everything upstream, each once, downstream first."""
    found: dict[str, Ancestor] = {}
    for part in parts:
        for ancestor in lineage(part.uri, verify=False).root.walk():
            found.setdefault(ancestor.digest, ancestor)
    order: list[str] = [Kind.EVALUATION, Kind.SAMPLES, Kind.MODEL, Kind.CHECKPOINT, Kind.DATASET]
    return sorted(
        found.values(),
        key=lambda item: order.index(item.kind) if item.kind in order else len(order),
    )


def duration(seconds: float) -> str:
    """A time for people: seconds, minutes, hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def moment(created_at: str) -> str:
    """A manifest's time for people, to the minute, in UTC."""
    return f"{datetime.fromisoformat(created_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _overlaid(config: ScheduleConfig, own: NoiseSchedule) -> list[ScheduleCurves]:
    """The run's own schedule and the other kinds at the same number of timesteps."""
    others = (kind for kind in _KINDS if kind != config.kind)
    curves = [
        _curves(kind, build_schedule(ScheduleConfig(kind=kind, num_timesteps=config.num_timesteps)))
        for kind in others
    ]
    return [_curves(config.kind, own, is_own=True), *curves]


def _curves(name: str, schedule: NoiseSchedule, *, is_own: bool = False) -> ScheduleCurves:
    return ScheduleCurves(
        name, schedule.betas.tolist(), schedule.alphas_cumprod.tolist(), schedule.snr.tolist(),
        is_own,
    )  # fmt: skip
