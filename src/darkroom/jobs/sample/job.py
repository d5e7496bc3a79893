"""`darkroom sample`: draws pictures with a trained model on a pool of Ray actors.

Assumes a model that `darkroom train` published. Every picture is a function of the model, the
settings, the run's seed and its index. What the pictures are worth is `evaluate`'s business.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.samples import ModelName, SamplesInfo, StripFrame
from darkroom.jobs.progress import progress
from darkroom.jobs.reservation import reserved_cpus
from darkroom.jobs.sample.album import Album
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.drawer import Drawer, DrawnImage, frame_levels, read_schedule
from darkroom.jobs.sample.plan import PlannedImage, batches, plan_images, resolve_classes
from darkroom.jobs.sample.pool import ordered_results
from darkroom.jobs.sample.table import SampleTable
from darkroom.jobs.session import ray_session
from darkroom.models.unet import ModelInfo, read_model_info
from darkroom.storage import Artifact, FileEntry, Output, open_artifact, open_output
from darkroom.temporary import temporary_folder


def run(config: SampleConfig) -> dict[str, Any]:
    """Draw and publish. Errors: those of storage, ConfigError for what the model cannot do."""
    model = open_artifact(config.input, kind=Kind.MODEL)
    info = read_model_info(model)
    levels = _check(config, info)
    plan = _plan(config, info)
    with open_output(
        config.output, kind=Kind.SAMPLES, config=config, parents=[model.as_parent("model")],
        on_existing=config.on_existing,
    ) as output:  # fmt: skip
        if output.completed is not None:
            return _result(output.completed)
        with ray_session():
            return _result(_draw(config, info, plan, levels, output))


def _check(config: SampleConfig, info: ModelInfo) -> list[int | None]:
    """The strip's timesteps. Errors: ConfigError, before anything is started or written."""
    if config.guidance_scale != 1 and info.null_class is None:
        raise ConfigError(
            "guidance_scale", config.guidance_scale, "the model has no null class to guide from",
            "use 1, or train with label dropout above 0",
        )  # fmt: skip
    schedule = read_schedule(info)
    if config.num_steps > schedule.num_timesteps:
        raise ConfigError(
            "num_steps", config.num_steps,
            f"the model was trained on {schedule.num_timesteps} timesteps", "use at most as many",
        )  # fmt: skip
    return frame_levels(config, schedule)


def _plan(config: SampleConfig, info: ModelInfo) -> list[PlannedImage]:
    if not info.class_conditional and config.classes is not None:
        raise ConfigError(
            "classes", list(config.classes), "the model was trained without classes", "leave it out"
        )
    labels = resolve_classes(config.classes, info.classes) if info.class_conditional else []
    return plan_images(config.seed, config.total, labels, info.classes, strip=config.strip > 0)


def _draw(
    config: SampleConfig, info: ModelInfo, plan: Sequence[PlannedImage],
    levels: Sequence[int | None], output: Output,
) -> Artifact:  # fmt: skip
    started = time.monotonic()
    files: list[FileEntry] = []
    album = Album()
    with temporary_folder("darkroom-samples-") as folder:
        path = folder / "samples.parquet"
        with SampleTable(path, config) as table, progress(len(plan), "sample", "img") as bar:
            for images in _drawn(config, info, plan, output):
                table.add(images)
                album.add(images)
                files.extend(image.entry for image in images)
                bar.advance(len(images))
        seconds = time.monotonic() - started
        files.append(output.writer.write_file(path.name, path, rows=len(plan)))
    files.append(output.writer.write_bytes("grid.png", album.grid()))
    if config.strip:
        files.append(output.writer.write_bytes("strip.png", album.strip(levels)))
        files.extend(
            output.writer.write_bytes(name, png, metadata=StripFrame(class_name, t).to_metadata())
            for class_name, name, t, png in album.frames(levels)
        )
    drawn = _info(config, info, plan, levels, seconds)
    return output.publish(files, rows=len(plan), metadata=drawn.to_metadata())


def _drawn(
    config: SampleConfig, info: ModelInfo, plan: Sequence[PlannedImage], output: Output
) -> Iterator[list[DrawnImage]]:
    """Batches of drawn pictures, in the order of the plan."""
    work = list(batches(plan, config.batch_size))
    actor = ray.remote(Drawer).options(
        num_cpus=reserved_cpus(config.num_cpus, config.num_gpus),
        num_gpus=config.num_gpus,
        max_restarts=config.max_restarts,
        max_task_retries=config.max_restarts,
    )
    actors: list[Any] = [
        actor.remote(config.to_dict(), info.digest, output.writer)
        for _ in range(min(config.num_actors, len(work)))
    ]
    try:
        yield from ordered_results(actors, "draw", work)
    finally:
        for handle in actors:
            ray.kill(handle)


def _info(
    config: SampleConfig, info: ModelInfo, plan: Sequence[PlannedImage],
    levels: Sequence[int | None], seconds: float,
) -> SamplesInfo:  # fmt: skip
    counts = Counter(image.class_name for image in plan if image.class_name is not None)
    return SamplesInfo(
        num_images=len(plan),
        classes=info.classes,
        num_per_class=dict(counts),
        image_size=info.image_size,
        channels=info.channels,
        sampler=config.sampler,
        num_steps=config.num_steps,
        guidance_scale=config.guidance_scale,
        eta=config.eta,
        seed=config.seed,
        model=ModelName(uri=info.uri, digest=info.digest, step=info.step),
        strip_timesteps=tuple(levels),
        seconds=round(seconds, 2),
        images_per_second=round(len(plan) / max(seconds, 1e-9), 2),
    )


def _result(artifact: Artifact) -> dict[str, Any]:
    info = plain_values(SamplesInfo.of(artifact))
    shown = ("num_images", "sampler", "num_steps", "guidance_scale", "seconds", "images_per_second")
    return {
        **names_of(artifact),
        **{name: info[name] for name in shown},
        "grid": str(artifact.uri / artifact.entry("grid.png").key),
    }
