"""What `darkroom classify` reads, with which model, and on how many workers.

Imports neither ray nor torch, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from darkroom.config import Config, Place, operational
from darkroom.jobs.batch.config import BatchConfig, WorkerPool
from darkroom.jobs.pictures.config import LimitsConfig
from darkroom.places import absolute


def _file_or_keyword(text: str) -> str:
    is_keyword = text in ("hub", "random") or text.startswith("hub:")
    return text if is_keyword else absolute(text)


class ModelConfig(Config):
    """A classifier by name, with its library's own transforms and labels."""

    library: Literal["torchvision", "timm"] = "torchvision"
    """Where the name is looked up."""
    name: Annotated[str, Field(min_length=1)] = "resnet152"
    """As the library calls it: resnet152, tf_efficientnet_lite0, vit_b_16."""
    weights: Annotated[str, Field(min_length=1), AfterValidator(_file_or_keyword)] = "hub"
    """A file (path or s3:// URI), hub for the library's own (downloaded), hub:NAME, or random."""
    labels: Place | None = None
    """A text file (path or URI) with one label per line, for weights with other classes."""


class ModelWorkers(WorkerPool):
    """Workers that each hold the model."""

    num_threads: Annotated[int, operational(ge=0, le=1024)] = 0
    """Threads of a model on CPUs; 0 shares the machine's cores among the models."""


class ClassifyConfig(BatchConfig):
    """Label pictures with an ImageNet model: one Parquet row each, without the picture."""

    input: Annotated[Place, operational()]
    """A folder of pictures, or data that `darkroom prepare` published (s3:// URI or path)."""
    split: Literal["train", "validation", "test"] | None = None
    """Of prepared data, or of a folder with split folders, this split alone; null for all."""
    class_map: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Folder's class -> the model's labels that are right for it, where the names differ."""

    model: ModelConfig = ModelConfig()
    """The classifier."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Pictures that the model sees at once; the last batch of a piece may be smaller."""
    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    """Labels kept per picture, the likeliest first."""
    background: Annotated[int, Field(ge=0, le=255)] = 255
    """Grey level under transparent pixels: 255 white, 0 black."""
    limits: LimitsConfig = LimitsConfig()
    """Bounds on one picture; what is beyond them becomes a dead letter."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 on CPUs."""
    compile: bool = True
    """torch.compile on a GPU; CPUs run as they are."""

    read_concurrency: Annotated[int, operational(ge=1, le=256)] = 16
    """Files that one reader reads at once."""
    readers: WorkerPool = WorkerPool(num_cpus=0.5)
    """Workers that read pieces from storage; they mostly wait for it."""
    decoders: WorkerPool = WorkerPool(num_workers=2)
    """Workers that decode pieces."""
    models: ModelWorkers = ModelWorkers()
    """Workers with the model. Ray reserves them for the whole run: they must fit the cluster."""
    num_thumbnails: Annotated[int, Field(ge=0, le=1000)] = 200
    """With a limit, a page shows so many predictions beside thumbnails."""
