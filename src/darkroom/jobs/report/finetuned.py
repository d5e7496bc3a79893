"""The page about a fine-tuned model: what it drew on the way, its curves, where it comes from."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from darkroom.jobs.artifacts.model import METRICS_FILE, PICTURES_FILE, FinetunedInfo
from darkroom.jobs.report.attempts import attempts_section
from darkroom.jobs.report.sections import duration, folded_settings, memory_words, moment, origins
from darkroom.pages.page import (
    Bitmap,
    Block,
    Folded,
    KeyFigure,
    Page,
    PictureTable,
    Section,
    SideBySide,
)
from darkroom.pages.plots import TrainingLog, training_plots
from darkroom.pages.sheet import enlarge
from darkroom.pages.term_plots import part_plots
from darkroom.storage import Artifact

MAX_FRAMES = 8
FRAME_PIXELS = 144


def finetuned_page(model: Artifact, *, title: str) -> Page:
    """Everything on the page, from what was published."""
    info = FinetunedInfo.of(model)
    losses = [info.final.get(name) for name in ("loss", "validation_loss")]
    sections = [
        film_section(model),
        _training_section(model, info),
        attempts_section(info.account),
        _card_section(model),
        Section(
            "settings", "Settings", [folded_settings("finetune", model)],
            "The complete config behind it.",
        ),
        origins([model]),
    ]  # fmt: skip
    return Page(
        title=title,
        subtitle=_subtitle(model, info),
        key_figures=[
            *(
                KeyFigure(name, f"{value:.4f}", note)
                for name, value, note in zip(
                    ("Loss", "Validation loss"), losses, ("last logged", "EMA weights"), strict=True
                )
                if value is not None
            ),
            KeyFigure("Training", duration(info.seconds), f"{info.step:,} steps"),
        ],
        sections=[section for section in sections if section is not None],
        footer=f"Made by darkroom report from model {model.digest[:12]}. "
        "This file needs nothing else: keep it, mail it, open it offline.",
    )


def film_section(model: Artifact) -> Section | None:
    """A strip for each prompt and seed: the same picture as training went on."""
    if not any(entry.name == PICTURES_FILE for entry in model.manifest.files):
        return None
    rows = model.read_table(PICTURES_FILE).to_pylist()
    steps = spread(sorted({row["step"] for row in rows}))
    frames = {(row["prompt"], row["seed"], row["step"]): row["image"] for row in rows}
    names = list(dict.fromkeys((row["prompt"], row["seed"]) for row in rows))
    strip = PictureTable(
        columns=[f"step {step:,}" for step in steps],
        rows=[
            (
                f"{prompt} (seed {seed})",
                [_frame(frames.get((prompt, seed, step)), prompt, step) for step in steps],
            )
            for prompt, seed in names
        ],
        style="strip",
    )
    return Section(
        "film", "Pictures on the way", [strip],
        "Each prompt from the same noise, by the averaged weights, as training went on; step 0 is "
        "the base.",
    )  # fmt: skip


def spread(steps: Sequence[int], most: int = MAX_FRAMES) -> list[int]:
    """At most so many of them, spread evenly, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(float(at))] for at in np.linspace(0, len(steps) - 1, most)]


def _frame(png: bytes | None, prompt: str, step: int) -> Bitmap | None:
    if png is None:
        return None
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((FRAME_PIXELS, FRAME_PIXELS), Image.Resampling.LANCZOS)
    return Bitmap(enlarge(np.asarray(picture), FRAME_PIXELS // 2), f"{prompt} at step {step}")


def _training_section(model: Artifact, info: FinetunedInfo) -> Section:
    table = model.read_table(METRICS_FILE).to_pydict()
    log = TrainingLog(table.pop("step"), table)
    limit = model.manifest.config.get("optimizer", {}).get("max_grad_norm")
    blocks: list[Block] = [SideBySide(training_plots(log, max_grad_norm=limit))]
    if plots := part_plots(log):
        blocks.append(SideBySide(plots))
    return Section(
        "training", "Training", blocks,
        f"{info.step:,} optimizer steps in {duration(info.seconds)}."
        + memory_words(info.out_of_memory),
    )  # fmt: skip


def _card_section(model: Artifact) -> Section:
    card = model.read_bytes("model/model_card.md").decode()
    return Section("card", "Model card", [Folded("model_card.md", card)])


def _subtitle(model: Artifact, info: FinetunedInfo) -> str:
    what = "A LoRA for" if info.method == "lora" else "A fine-tuned"
    sizes = [f"{width} x {height}" for height, width in info.image_sizes]
    shown = " and ".join(sizes) if len(sizes) < 3 else f"{len(sizes)} sizes of up to {sizes[-1]}"
    return (
        f"{what} {info.family} model (base {info.base_digest[:12]}), trained at {shown} "
        f"pixels; published {moment(model.manifest.created_at)}, digest {model.digest[:12]}."
    )
