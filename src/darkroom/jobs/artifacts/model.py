"""A model: a diffusers folder under `model/` with its card, as a training verb publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from darkroom.diffusion.config import PredictionType, ScheduleConfig
from darkroom.errors import DataError
from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.kind import Kind
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

MODEL_PREFIX = "model/"
METRICS_FILE = "metrics.parquet"
"""One row per logged step."""
PICTURES_FILE = "pictures.parquet"
"""What was drawn on the way; no such file where nothing was."""
HISTOGRAMS_FILE = "histograms.parquet"
"""Of weights and gradients, by step and block; no such file where none were taken."""


@dataclass(frozen=True, kw_only=True)
class AttemptInfo:
    """One start of the run: how it ended, and its worker-seconds by what they went into."""

    driver: str
    began_at: float
    """Wall clock, seconds since 1970."""
    until: float
    num_workers: int
    first_step: int
    last_step: int
    ending: str | None
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Goodput:
    """Where the worker-seconds of all attempts went."""

    goodput: float
    """Share of steps that no attempt had done before."""
    worker_seconds: Mapping[str, float]
    total_worker_seconds: float
    wall_seconds: float
    num_attempts: int
    steps_redone: int
    attempts: tuple[AttemptInfo, ...]


@dataclass(frozen=True, kw_only=True)
class OutOfMemory:
    """A step that was done again with a smaller micro-batch."""

    step: int
    """The optimizer step, 0-based."""
    rank: int
    """One whose memory did not suffice."""
    micro_batch_size: int
    """What was too much."""
    new_micro_batch_size: int


@dataclass(frozen=True, kw_only=True)
class TrainedInfo(Info):
    """What the manifest of every trained model says of it, whatever it is."""

    kind: ClassVar[Kind] = Kind.MODEL

    step: int
    """Optimizer steps behind these weights."""
    seconds: float
    """Time spent training them."""
    final: Mapping[str, float | None]
    """The last value of each figure of the log."""
    account: Goodput | None = None
    out_of_memory: tuple[OutOfMemory, ...] = ()

    @staticmethod
    def found(artifact: Artifact) -> TrainedInfo:
        """What a model says of itself, whichever verb has trained it. Errors: DataError."""
        return FinetunedInfo.found_in(artifact) or ModelInfo.of(artifact)


@dataclass(frozen=True, kw_only=True)
class ModelInfo(TrainedInfo):
    """What a pixel-space diffusion model's manifest says of it."""

    verb: ClassVar[str] = "train"

    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    class_conditional: bool
    """Whether the network takes labels."""
    null_class: int | None
    """Label that stands for "no class"; None when the model cannot be guided."""
    prediction_type: PredictionType
    schedule: ScheduleConfig

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """As every kind's; a text-to-image model is refused by its name."""
        if FinetunedInfo.found_in(artifact) is not None:
            raise DataError(
                field, str(artifact.uri), "is a fine-tuned text-to-image model",
                "draw with `darkroom generate --model`",
            )  # fmt: skip
        return super().of(artifact, field=field)

    @property
    def shape(self) -> ImageShape:
        """The size of what it draws."""
        return ImageShape(*self.image_size, self.channels)


@dataclass(frozen=True, kw_only=True)
class FinetunedInfo(TrainedInfo):
    """What the manifest of a fine-tuned latent diffusion model, or of a LoRA, says of it."""

    verb: ClassVar[str] = "finetune"

    family: str
    """Of the base: sd, sdxl, sd3 or flux."""
    method: Literal["lora", "full"]
    """lora: `model/` holds adapters alone; full: a whole diffusers folder."""
    base_digest: str
    """Names the base that it belongs to."""
    base_license: str
    """As the base's own card names it; "unknown" where it has none."""
    trigger_words: tuple[str, ...]
    image_sizes: tuple[tuple[int, int], ...]
    """Heights and widths in pixels of what it learnt from; several where that was in buckets."""

    @classmethod
    def found_in(cls, artifact: Artifact) -> Self | None:
        """What a model says of itself, if it was fine-tuned; None for what `train` published."""
        manifest = artifact.manifest
        finetuned = manifest.kind == cls.kind and "base_digest" in manifest.metadata
        return cls.of(artifact) if finetuned else None


@dataclass(frozen=True)
class TrainedModel:
    """A published model and its log."""

    artifact: Artifact
    info: ModelInfo

    @classmethod
    def of(cls, artifact: Artifact, *, field: str = "input") -> Self:
        """Errors: DataError for what is no model."""
        return cls(artifact, ModelInfo.of(artifact, field=field))

    def metrics(self) -> pa.Table:
        """The log of training: a row per logged step."""
        return self.artifact.read_table(METRICS_FILE)
