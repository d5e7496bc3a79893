"""Draws one batch of planned pictures and writes them: what runs inside a Ray actor.

Knows nothing of Ray. A batch may be drawn twice (its actor died after drawing): the same seeds
give the same pictures under the same names. Which pictures there are is the plan's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.config import build_config
from darkroom.diffusion.config import ScheduleConfig
from darkroom.diffusion.guidance import conditional, guided
from darkroom.diffusion.noise import ImageNoise
from darkroom.diffusion.objective import Denoiser
from darkroom.diffusion.sampler import SAMPLERS, timesteps
from darkroom.diffusion.schedule import NoiseSchedule, build_schedule
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.sample.config import SampleConfig
from darkroom.jobs.sample.plan import PlannedImage
from darkroom.models.unet import ModelInfo, load_unet, read_model_info
from darkroom.report.sheet import as_picture, grey_levels, png_bytes
from darkroom.storage import FileEntry, PartWriter, open_artifact
from darkroom.temporary import temporary_folder


@dataclass(frozen=True)
class DrawnImage:
    """A picture that is written, and what the table says of it."""

    planned: PlannedImage
    entry: FileEntry
    png: bytes = field(repr=False)
    frames: Sequence[NDArray[np.uint8]] = field(default=(), repr=False)
    """Intermediates, noise first, HxW or HxWx3; empty unless the plan keeps them."""


class Drawer:
    """A loaded model that draws batches."""

    def __init__(self, config: Mapping[str, Any], model_digest: str, writer: PartWriter) -> None:
        self._config = build_config(SampleConfig, config)
        self._device = choose_device(self._config)
        if self._device.type == "cpu":
            torch.set_num_threads(max(1, int(self._config.num_cpus or 1)))
        artifact = open_artifact(self._config.input, kind=Kind.MODEL)
        if artifact.digest != model_digest:
            raise ConfigError(
                "input", self._config.input, "was published anew while pictures were drawn",
                "run sample again",
            )  # fmt: skip
        self._info = read_model_info(artifact)
        self._schedule = read_schedule(self._info)
        self._artifact = artifact
        self._writer = writer

    @cached_property
    def _network(self) -> Callable[..., Tensor]:
        # With the first batch: what a task raises reaches the driver as it is, where an error
        # while an actor starts is tried again and then told as the actor's death.
        return self._prepare(load_unet(self._artifact, self._device))

    def draw(self, images: Sequence[PlannedImage]) -> list[DrawnImage]:
        """Draw and write `images`, all at once."""
        pixels, frames = self._sample(images)
        pngs = [png_bytes(as_picture(image)) for image in pixels]
        entries = self._write(images, pngs)
        return [
            DrawnImage(
                planned=image,
                entry=entries[image.file_name],
                png=png,
                frames=[as_picture(frame[row]) for frame in frames] if image.keep_frames else (),
            )
            for row, (image, png) in enumerate(zip(images, pngs, strict=True))
        ]

    @torch.inference_mode()
    def _sample(
        self, images: Sequence[PlannedImage]
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """Pictures as uint8 BCHW, and the same for every kept step (none when none is kept)."""
        config = self._config
        noise = ImageNoise(
            [image.seed for image in images], self._info.image_shape, device=self._device
        )
        x_T = noise.initial()
        wanted = frame_steps(config) if any(image.keep_frames for image in images) else []
        frames = [to_uint8(x_T)] if wanted else []

        def keep(index: int, _t: int, x: Tensor, _x0: Tensor) -> None:
            if index + 1 in wanted:
                frames.append(to_uint8(x))

        x_0 = SAMPLERS[config.sampler](
            self._denoiser([image.label for image in images]),
            x_T,
            self._schedule,
            num_steps=config.num_steps,
            prediction_type=self._info.prediction_type,
            noise=noise,
            clip=1.0 if config.clip else None,
            eta=config.eta,
            on_step=keep,
        )
        return to_uint8(x_0), frames

    def _denoiser(self, labels: Sequence[int | None]) -> Denoiser:
        if None in labels:
            return conditional(self._network, None)
        classes = torch.tensor(labels, device=self._device)
        return guided(self._network, classes, self._info.null_class, self._config.guidance_scale)

    def _prepare(self, unet: torch.nn.Module) -> Callable[..., Tensor]:
        """The network under the config's precision, memory format and compiler."""
        config = self._config
        if config.channels_last:
            unet = unet.to(memory_format=torch.channels_last)
        network: Callable[..., Any] = torch.compile(unet) if config.compile else unet

        def run(x: Tensor, t: Tensor, **labels: Tensor) -> Tensor:
            if config.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with self._autocast():
                prediction: Tensor = network(x, t, **labels).sample
            return prediction.float()

        return run

    def _autocast(self) -> AbstractContextManager[object]:
        if self._config.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _write(self, images: Sequence[PlannedImage], pngs: Sequence[bytes]) -> dict[str, FileEntry]:
        """Upload all at once; file entries by logical name."""
        with temporary_folder("darkroom-sample-") as folder:
            for image, png in zip(images, pngs, strict=True):
                path = folder / image.file_name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(png)
            return {entry.name: entry for entry in self._writer.write_tree(folder)}


def choose_device(config: SampleConfig) -> torch.device:
    """Where this actor draws. Errors: ConfigError when a GPU is asked for and none is here."""
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError(
            "device", "cuda", "no GPU is visible to the sampling actor",
            "set num_gpus above 0 on a cluster with GPUs, or device to auto",
        )  # fmt: skip
    return torch.device("cpu" if config.device == "cpu" or not has_gpu else "cuda")


def read_schedule(info: ModelInfo) -> NoiseSchedule:
    """The noise schedule that the model was trained with."""
    return build_schedule(build_config(ScheduleConfig, info.schedule))


def frame_steps(config: SampleConfig) -> list[int]:
    """How many steps are behind each frame of the strip: from 0 (noise) to num_steps."""
    if not config.strip:
        return []
    last = config.strip - 1
    return [round(config.num_steps * frame / last) for frame in range(config.strip)]


def frame_levels(config: SampleConfig, schedule: NoiseSchedule) -> list[int | None]:
    """The timestep t that each frame of the strip is at; None for the finished picture."""
    visited: list[int | None] = [*timesteps(schedule, config.num_steps), None]
    return [visited[step] for step in frame_steps(config)]


def to_uint8(x: Tensor) -> NDArray[np.uint8]:
    """Images in [-1, 1], BCHW, as grey levels."""
    return grey_levels(x.detach().float().cpu().numpy())
