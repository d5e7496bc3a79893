"""What is measured, how sure the figures are to be, and the workers that make the features.

Imports neither ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from darkroom.config import Config, ModelPlace, Place, PositiveInt, operational
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.names import NETWORKS, USUAL, MetricName, names_of_features
from darkroom.jobs.measuring.requirement import RequirementText, parse_requirement

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]


class WeightsConfig(Config):
    """Weights of a network, as one file."""

    weights: Annotated[Place, operational()]
    """Path or s3:// URI of the file; its digest, not this name, identifies it."""
    sha256: Digest | None = None
    """Of the file that it must be; null takes any, and says which it was."""


class FolderConfig(Config):
    """A network of transformers, as its folder."""

    model: Annotated[ModelPlace, operational()]
    """Path, s3:// URI or hub id of the folder; its digest, not this name, identifies it."""
    expected_digest: Digest | None = None
    """Darkroom's digest of the folder, or the hub's commit, that it must be; null takes any."""


class TimmConfig(WeightsConfig):
    """A network of timm, with weights from a file."""

    name: Annotated[str, Field(min_length=1)] = "resnet50"
    """As timm calls it: resnet50.a1_in1k, convnext_tiny."""


class LpipsConfig(WeightsConfig):
    """A network of torchvision that LPIPS compares pairs of pictures by, with its ImageNet weights
    from a file."""

    net: Literal["alex", "vgg", "squeeze"] = "alex"
    """alex is AlexNet, the usual one for comparing pictures; vgg is VGG-16, squeeze SqueezeNet
    1.1. Distances of two of them cannot be compared."""


class NetworksConfig(Config):
    """The networks whose features are compared, each by its weights; null leaves it out."""

    inception: WeightsConfig | None = None
    """FID's Inception v3, as torch-fidelity has it."""
    dinov2: FolderConfig | None = None
    """A DINOv2 of transformers; published figures take facebook/dinov2-large."""
    clip: FolderConfig | None = None
    """A CLIP of transformers; CMMD takes openai/clip-vit-large-patch14-336."""
    timm: TimmConfig | None = None
    """Any network of timm."""
    lpips: LpipsConfig | None = None
    """LPIPS, between pictures of one prompt or class."""
    batch_size: Annotated[int, operational(ge=1, le=4096)] = 32
    """Pictures that a network sees at once."""


class GateConfig(Config):
    """What the thresholds of `require` were made for."""

    num_images: PositiveInt | None = None
    """Pictures that are measured; another number is refused. null takes any."""
    reference: Digest | None = None
    """Content digest of the reference; another is refused. null takes any."""


class MeasuringConfig(Config):
    """Which figures, and how their intervals and floors are made."""

    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] | None = None
    """Which figures to compute; null takes the six that need no weights, all that the given
    networks have, and what is required."""
    networks: NetworksConfig = NetworksConfig()
    """Networks whose features are compared."""
    require: tuple[RequirementText, ...] = ()
    """What the figures must be, as kid_inception<0.01, or of two sets kid_inception<against: judged
    by the bad end of the interval; the command ends with exit code 3 when one is not met."""
    gate: GateConfig = GateConfig()
    """What these thresholds were made for."""
    num_neighbours: PositiveInt = 3
    """Reach of a neighbourhood, for precision, recall, density and coverage."""
    num_bootstrap: Annotated[int, Field(ge=20)] = 200
    """Resamples behind each interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of each interval."""
    num_floor_draws: PositiveInt = 10
    """Draws of real training pictures behind each floor."""
    read_concurrency: Annotated[int, operational(ge=1, le=256)] = 16
    """Files that one reader reads at once."""
    extractors: WorkerConfig = WorkerConfig()
    """The workers of each network that makes features; pixels need none."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The figures to compute, each once."""
        if self.metrics is not None:
            return tuple(dict.fromkeys(self.metrics))
        given = [name for name in NETWORKS if getattr(self.networks, name) is not None]
        of_networks = [name for features in given for name in names_of_features(features)]
        required = [parse_requirement(text).metric for text in self.require]
        return tuple(dict.fromkeys([*USUAL, *of_networks, *required]))
