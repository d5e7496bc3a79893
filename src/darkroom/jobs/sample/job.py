"""`darkroom sample`: draws pictures with a trained model, each exactly once.

    driver: plan (class, id) -> Ray: draw -> encode -> commit -> driver: grid, strip, manifest

Assumes a model that `darkroom train` published. Every picture is a function of the model, the
settings, the run's seed and its index. Pictures lie in the PNG tree and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.diffusion.noise import image_seed
from darkroom.diffusion.sampler import timesteps
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.model import ModelInfo, TrainedModel
from darkroom.jobs.artifacts.samples import GRID_FILE, ModelName, SamplesInfo
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer, check_settings
from darkroom.jobs.drawing.drawer import STAGE, Request
from darkroom.jobs.drawing.encode import encode_stage
from darkroom.jobs.drawing.stage import DrawStage, model_stage
from darkroom.jobs.sample.album import Album
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.plan import plan_images, resolve_classes
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Artifact, open_artifact

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
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


def run(config: SampleConfig) -> dict[str, Any]:
    """Draw and publish. Errors: those of storage, ConfigError for what the model cannot do."""
    trained = TrainedModel.of(open_artifact(config.input))
    levels = _levels(config, trained.info)
    plan = plan_of(config, trained.info)
    model = find_model(config.input, field="input")
    with open_batch(
        config, kind=Kind.SAMPLES, rows=plan, parents=[model.as_parent("model")]
    ) as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        album = Album(levels)
        batch.run(
            _stages(config, model),
            schema=SCHEMA,
            files=album.files,
            description="sample",
            unit="pictures",
        )
        return _result(_publish(config, trained, plan, album, batch))


def _levels(config: SampleConfig, info: ModelInfo) -> list[int | None]:
    """The timestep of each frame of the strip; None for the finished picture.

    Errors: ConfigError for what the model cannot do.
    """
    schedule = check_settings(config, info)
    visited: list[int | None] = [*timesteps(schedule, config.num_steps), None]
    return [visited[step] for step in config.frames_after]


def plan_of(config: SampleConfig, info: ModelInfo) -> pa.Table:
    """A row for each picture. Errors: ConfigError for classes that the model does not have."""
    if not info.class_conditional and config.classes is not None:
        raise ConfigError(
            "classes", list(config.classes), "the model was trained without classes", "leave it out"
        )
    labels = resolve_classes(config.classes, info.classes) if info.class_conditional else []
    return plan_images(config.total, labels, info.classes, strip=config.strip > 0)


def _stages(config: SampleConfig, model: FoundModel) -> list[Stage]:
    names = ("sampler", "num_steps", "guidance_scale", "eta")
    constants = {name: getattr(config, name) for name in names}
    draw = partial(draw_stage, config.to_dict(), model)
    return [model_stage(STAGE, config, draw), encode_stage(constants, model_digest=model.digest)]


def draw_stage(values: Mapping[str, Any], model: FoundModel) -> DrawStage:
    """The stage's function, on a worker."""
    config = build_config(SampleConfig, values)
    return DrawStage(
        partial(ClassConditionalDrawer, config, model),
        partial(requests_of, config),
        batch_size=config.batch_size,
    )


def requests_of(config: SampleConfig, plan: pa.Table) -> list[Request]:
    """What the rows of a plan ask for."""
    return [
        Request(
            id=row["id"],
            text=row["class_name"],
            seed=image_seed(config.seed, row["index"]),
            frames_after=config.frames_after if row["in_strip"] else (),
        )
        for row in plan.to_pylist()
    ]


def _publish(
    config: SampleConfig, trained: TrainedModel, plan: pa.Table, album: Album, batch: BatchRun
) -> Artifact:
    sheets = [batch.writer.write_bytes(GRID_FILE, album.grid(plan, batch.read))]
    if config.strip:
        sheets.append(batch.writer.write_bytes("strip.png", album.strip(plan, batch.read)))
    rejected = {reject.id for reject in batch.rejected}
    names = zip(plan["id"].to_pylist(), plan["class_name"].to_pylist(), strict=True)
    about = partial(
        SamplesInfo,
        classes=trained.info.classes,
        num_per_class=Counter(name for i, name in names if name is not None and i not in rejected),
        image_size=trained.info.image_size,
        channels=trained.info.channels,
        sampler=config.sampler,
        num_steps=config.num_steps,
        guidance_scale=config.guidance_scale,
        eta=config.eta,
        seed=config.seed,
        model=ModelName(
            uri=str(trained.artifact.uri), digest=trained.artifact.digest, step=trained.info.step
        ),
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
