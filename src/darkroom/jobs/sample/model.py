"""What draws: a model of classes that `train` published, or a text-to-image model with prompts.

Each says what is drawn, what the output descends from, and what the manifest tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import pyarrow as pa

from darkroom.diffusion.spacing import timesteps
from darkroom.errors import ConfigError, ObjectNotFoundError
from darkroom.jobs.artifacts.model import FinetunedInfo, ModelInfo, TrainedModel
from darkroom.jobs.artifacts.samples import ModelName
from darkroom.jobs.drawing.class_settings import check_num_steps, check_settings
from darkroom.jobs.drawing.lora import find_lora
from darkroom.jobs.drawing.text_model import check_text_model
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.sample.config import SampleConfig, TextConfig
from darkroom.jobs.sample.plan import plan_images, plan_prompts, resolve_classes
from darkroom.models.families.find import json_object
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import open_artifact, open_store


class DrawingModel(Protocol):
    """A model that is asked for pictures."""

    @property
    def found(self) -> FoundModel: ...
    @property
    def lora(self) -> FoundModel | None: ...
    @property
    def name(self) -> ModelName: ...
    def plan(self, config: SampleConfig) -> pa.Table:
        """A row for each picture."""

    def shape(self, config: SampleConfig) -> ImageShape | None:
        """The size of its pictures; None where only the loaded model knows it."""

    def levels(self, config: SampleConfig) -> list[int | None]:
        """The timestep of each frame of the strip; None for the finished picture."""

    def sampler(self, config: SampleConfig) -> str:
        """What goes back through the noise levels."""

    def about(self, first: Callable[[], bytes | None]) -> Mapping[str, Any]:
        """Fields of `SamplesInfo` that tell what was asked for, and the size of the pictures.

        first: reads one of them, encoded; None where none could be drawn.
        """


@dataclass(frozen=True)
class ClassModel:
    """What `darkroom train` published."""

    trained: TrainedModel
    found: FoundModel
    lora: None = None

    @classmethod
    def of(cls, config: SampleConfig) -> Self:
        """Errors: ConfigError for a text-to-image model; those of storage."""
        try:
            artifact = open_artifact(config.input)
        except ObjectNotFoundError:
            if open_store(config.input).head("model_index.json") is None:
                raise
            raise _needs_prompts(config) from None
        if FinetunedInfo.found_in(artifact) is not None:
            raise _needs_prompts(config)
        return cls(TrainedModel.of(artifact), find_model(config.input, field="input"))

    @property
    def name(self) -> ModelName:
        artifact = self.trained.artifact
        return ModelName(
            uri=str(artifact.uri), digest=artifact.digest, step=self.trained.info.step,
            content_digest=self.found.digest,
        )  # fmt: skip

    def plan(self, config: SampleConfig) -> pa.Table:
        """Errors: ConfigError for classes that the model does not have."""
        return plan_of(config, self.trained.info)

    def shape(self, config: SampleConfig) -> ImageShape | None:
        return self.trained.info.shape

    def levels(self, config: SampleConfig) -> list[int | None]:
        """Errors: ConfigError for what the model cannot do."""
        info = self.trained.info
        check_settings(config, info)
        visited: list[int | None] = [*timesteps(info.schedule, config.num_steps), None]
        return [visited[step] for step in config.frames_after]

    def sampler(self, config: SampleConfig) -> str:
        return config.sampler

    def about(self, first: Callable[[], bytes | None]) -> Mapping[str, Any]:
        info = self.trained.info
        return {
            "classes": info.classes, "image_size": info.image_size, "channels": info.channels
        }  # fmt: skip


@dataclass(frozen=True)
class TextModel:
    """A text-to-image model, with a LoRA or without."""

    found: FoundModel
    lora: FoundModel | None
    prompts: Sequence[str]
    scheduler: str
    """The class of its own, which goes back through the noise levels."""
    num_timesteps: int | None
    """As its config says."""
    finetuned: FinetunedInfo | None

    @classmethod
    def of(cls, uri: str, text: TextConfig) -> Self:
        """Errors: ConfigError for a model or a LoRA that does not fit."""
        found = find_model(uri, field="input", variant=text.variant)
        finetuned = check_text_model(found, field="input", lora_field="text.lora.model")
        lora = find_lora(text, found, prefix="text.")
        scheduler, num_timesteps = _scheduler_of(found)
        return cls(found, lora, text.prompts, scheduler, num_timesteps, finetuned)

    @property
    def name(self) -> ModelName:
        parent = self.found.as_parent("model")
        step = None if self.finetuned is None else self.finetuned.step
        return ModelName(
            uri=parent.uri, digest=parent.digest, step=step, content_digest=self.found.digest
        )

    def plan(self, config: SampleConfig) -> pa.Table:
        return plan_prompts(config.total, self.prompts)

    def shape(self, config: SampleConfig) -> ImageShape | None:
        text = config.text
        if text is None or text.height is None or text.width is None:
            return None  # each pipeline has a size of its own
        # Some pipelines round what is no multiple of 16.
        is_kept = not (text.height % 16 or text.width % 16)
        return ImageShape(text.height, text.width, 3) if is_kept else None

    def levels(self, config: SampleConfig) -> list[int | None]:
        """Errors: ConfigError for more steps than the schedule has."""
        if self.num_timesteps is not None:
            check_num_steps(config.num_steps, self.num_timesteps)
        return []

    def sampler(self, config: SampleConfig) -> str:
        return self.scheduler

    def about(self, first: Callable[[], bytes | None]) -> Mapping[str, Any]:
        png = first()
        size = (0, 0, 0) if png is None else published_pixels(png, where="picture").shape
        return {
            "classes": (), "prompts": tuple(self.prompts), "image_size": size[1:],
            "channels": size[0],
        }  # fmt: skip


def model_of(config: SampleConfig) -> DrawingModel:
    """What the config draws with."""
    if config.text is None:
        return ClassModel.of(config)
    return TextModel.of(config.input, config.text)


def plan_of(config: SampleConfig, info: ModelInfo) -> pa.Table:
    """A row for each picture. Errors: ConfigError for classes that the model does not have."""
    if not info.class_conditional and config.classes is not None:
        raise ConfigError(
            "classes", list(config.classes), "the model was trained without classes", "leave it out"
        )
    labels = resolve_classes(config.classes, info.classes) if info.class_conditional else []
    return plan_images(config.total, labels, info.classes, strip=config.strip > 0)


def _scheduler_of(model: FoundModel) -> tuple[str, int | None]:
    settings = json_object(model.read("scheduler/scheduler_config.json")) or {}
    steps = settings.get("num_train_timesteps")
    return str(settings.get("_class_name") or "unknown"), steps if type(steps) is int else None


def _needs_prompts(config: SampleConfig) -> ConfigError:
    return ConfigError(
        "input", config.input, "is a text-to-image model, which needs prompts", "give --prompt TEXT"
    )
