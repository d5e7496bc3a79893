"""`darkroom sample`: draws pictures with a trained model, each exactly once.

    driver: plan (class, id) -> Ray: draw -> encode -> commit -> driver: grid, strip, manifest

Assumes a model that `darkroom train` published. Every picture is a function of the model, the
settings, the run's seed and its index. Pictures lie in the PNG tree and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.diffusion.seeds import image_seed
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.samples import GRID_FILE, SamplesInfo
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.drawing.drawer import STAGE, Request
from darkroom.jobs.drawing.encode import encode_stage, file_name
from darkroom.jobs.drawing.foreseen import ForeseenPictures
from darkroom.jobs.drawing.signing import signing_of
from darkroom.jobs.drawing.stage import DrawStage, model_stage
from darkroom.jobs.sample.album import Album
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.model import DrawingModel, model_of
from darkroom.models.find import FoundModel
from darkroom.storage import Artifact, Parent

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
        ("prompt", pa.string()),
        ("seed", pa.uint64()),
        ("sampler", pa.string()),
        ("num_steps", pa.int64()),
        ("guidance_scale", pa.float64()),
        ("eta", pa.float64()),
        ("file_name", pa.string()),
        ("sha256", pa.string()),
    ]
)
"""One row per picture, with everything needed to draw it again."""


@dataclass(frozen=True)
class _Order:
    """What is to be drawn, by which model: found before anything is."""

    config: SampleConfig
    model: DrawingModel
    album: Album
    plan: pa.Table

    @classmethod
    def of(cls, config: SampleConfig) -> _Order:
        """Errors: those of storage, ConfigError for what the model cannot do."""
        signing_of(config.signing)
        model = model_of(config)
        return cls(config, model, Album(model.levels(config)), model.plan(config))

    @property
    def parents(self) -> Sequence[Parent]:
        """What the pictures descend from."""
        parents = [self.model.found.as_parent("model")]
        if self.model.lora is not None:
            parents.append(self.model.lora.as_parent("lora"))
        return parents

    def open(self) -> AbstractContextManager[BatchRun]:
        """The run, after every check that needs no Ray; nothing is written yet."""
        return open_batch(self.config, kind=Kind.SAMPLES, rows=self.plan, parents=self.parents)


def run(config: SampleConfig) -> dict[str, Any]:
    """Draw and publish. Errors: those of storage, ConfigError for what the model cannot do."""
    return _draw(_Order.of(config))


def foresee(config: SampleConfig) -> ForeseenPictures:
    """Find what `run` would draw, and all that it would refuse; draws nothing. Errors: as `run`."""
    order = _Order.of(config)
    with order.open() as batch:
        are_drawn = batch.completed is not None
    return ForeseenPictures(
        order.plan.select(("id", "class_name", "prompt")),
        order.model.shape(config),
        order.parents,
        are_drawn,
        partial(_draw, order),
    )


def _draw(order: _Order) -> dict[str, Any]:
    with order.open() as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        batch.run(
            _stages(order.config, order.model),
            schema=SCHEMA,
            files=order.album.files,
            description="sample",
            unit="pictures",
        )
        return _result(_publish(order, batch))


def _stages(config: SampleConfig, model: DrawingModel) -> list[Stage]:
    names = ("num_steps", "guidance_scale", "eta")
    constants = {name: getattr(config, name) for name in names}
    draw = partial(draw_stage, config.to_dict(), model.found, model.lora)
    return [
        model_stage(STAGE, config, draw),
        encode_stage(
            {"sampler": model.sampler(config), **constants},
            model_digest=model.found.digest,
            lora_digest=None if model.lora is None else model.lora.digest,
            signing=config.signing,
        ),
    ]


def draw_stage(
    values: Mapping[str, Any], model: FoundModel, lora: FoundModel | None = None
) -> DrawStage:
    """The stage's function, on a worker."""
    from darkroom.jobs.drawing.load import load_drawer  # imports torch

    config = build_config(SampleConfig, values)
    return DrawStage(
        partial(load_drawer, config.drawing, model, lora=lora),
        partial(requests_of, config),
        batch_size=config.batch_size,
    )


def requests_of(config: SampleConfig, plan: pa.Table) -> list[Request]:
    """What the rows of a plan ask for."""
    return [
        Request(
            id=row["id"],
            text=row["class_name"] if row["prompt"] is None else row["prompt"],
            seed=image_seed(config.seed, row["index"]),
            frames_after=config.frames_after if row["in_strip"] else (),
        )
        for row in plan.to_pylist()
    ]


def _publish(order: _Order, batch: BatchRun) -> Artifact:
    config, model, album, plan = order.config, order.model, order.album, order.plan
    sheets = [batch.writer.write_bytes(GRID_FILE, album.grid(plan, batch.read))]
    if config.strip:
        sheets.append(batch.writer.write_bytes("strip.png", album.strip(plan, batch.read)))
    rejected = {reject.id for reject in batch.rejected}
    drawn = [row for row in plan.to_pylist() if row["id"] not in rejected]

    def first() -> bytes | None:
        return next(iter(batch.read([file_name(row["id"]) for row in drawn[:1]])), None)

    about = partial(
        SamplesInfo,
        **model.about(first),
        num_per_class=Counter(name for row in drawn if (name := row["class_name"]) is not None),
        sampler=model.sampler(config),
        num_steps=config.num_steps,
        guidance_scale=config.guidance_scale,
        eta=config.eta,
        seed=config.seed,
        model=model.name,
        strip_timesteps=tuple(album.levels),
    )
    return batch.publish(sheets, info=about)


def _result(artifact: Artifact) -> dict[str, Any]:
    info = plain_values(SamplesInfo.of(artifact))
    shown = ("num_rows", "num_rejected", "rejected", "sampler", "num_steps", "guidance_scale")
    return {
        **names_of(artifact),
        **{name: info[name] for name in (*shown, "figures")},
        "grid": str(artifact.uri / artifact.entry(GRID_FILE).key),
    }
