"""Networks that pictures are compared by, with weights that the user gives: Inception, DINOv2,
CLIP, and any of timm.

Each is found by the driver, which names its digest, and loaded in an actor from exactly those
files. How pictures are resized is part of what a figure is (the same pictures and weights gave FID
107 and 181 under two filters), so it belongs to the network and stands in the result:

    inception   bilinear as TensorFlow 1 did it, to 299x299, inside the network (torch-fidelity)
    dinov2      PIL bicubic to 224x224, the token of the class (dgm-eval)
    clip        PIL bicubic to the network's own square, without a crop (CMMD)
    timm        PIL, to the network's own square, by the filter it was trained with
    lpips       none: pairs of pictures at their own size (`lpips.py`)

Grey pictures are given three equal channels. Weights stay float32 for Inception, whose published
figures are; the others take `extractors.precision`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.evaluation import ExtractorFacts
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.comparison import CLIP, CUT, LPIPS, TEXT
from darkroom.jobs.measuring.config import MeasuringConfig, NetworksConfig
from darkroom.jobs.measuring.names import NETWORKS
from darkroom.models.find import FoundModel, find_file, find_model

if TYPE_CHECKING:
    import torch

Features = Mapping[str, NDArray[np.float32]]
Images = NDArray[np.uint8]
"""(N, C, H, W)"""
Prompts = Sequence[str | None]
Loaded = Callable[[Images, Prompts], Features]

RESIZES = {
    "inception": "TensorFlow 1 bilinear to 299x299",
    "dinov2": "PIL bicubic to 224x224",
    "clip": "PIL bicubic to the network's square",
    "timm": "PIL to the network's square, by its own filter",
    "lpips": "no filter, at their own size",
}


@dataclass(frozen=True)
class NetworkExtractor:
    """A network by its weights, for a stage of its own."""

    name: str
    columns: tuple[str, ...]
    model: FoundModel
    batch_size: int
    variant: str = ""
    """Which of timm's networks, or of LPIPS'."""

    def facts(self, workers: WorkerConfig) -> ExtractorFacts:
        """What makes its features what they are."""
        # Published figures of Inception are float32.
        precision = "float32" if self.name == "inception" else workers.precision
        resize = RESIZES[self.name]
        if self.name == LPIPS:
            resize += f" ({self.variant})"
        return ExtractorFacts(digest=self.model.digest, resize=resize, precision=precision)

    def load(self, workers: WorkerConfig) -> Loaded:
        """The network on the worker's device; called in the actor.

        Errors: ConfigError or DataError for weights of another network.
        """
        import torch

        from darkroom.jobs.drawing.device import DTYPES, prepare_device
        from darkroom.jobs.measuring import loaded_networks

        device = prepare_device(workers, self.model.weights_bytes, prefix="extractors.")
        network = loaded_networks.load(self, device, DTYPES[workers.precision])

        def extract(images: Images, prompts: Prompts) -> Features:
            made: dict[str, list[NDArray[np.float32]]] = {column: [] for column in self.columns}
            coloured = images if images.shape[1] == 3 else images.repeat(3, axis=1)
            with torch.inference_mode():
                for start in range(0, len(images), self.batch_size):
                    part = slice(start, start + self.batch_size)
                    found = network(coloured[part], prompts[part])
                    for column in self.columns:
                        made[column].append(_rows(found[column]))
            return {column: np.concatenate(parts) for column, parts in made.items()}

        return extract


def find_networks(settings: MeasuringConfig, columns: Sequence[str]) -> list[NetworkExtractor]:
    """The networks that make `columns`, found and held against the digests that they must have.

    Errors: ConfigError naming the setting.
    """
    return [
        _found(name, settings.networks)
        for name in NETWORKS
        if set(_columns(name)) & set(columns)
    ]  # fmt: skip


def _found(name: str, networks: NetworksConfig) -> NetworkExtractor:
    config: Any = getattr(networks, name)
    if name == "timm" and ":" in config.name:
        raise ConfigError(
            "networks.timm.name", config.name, "names a place, which is not asked for a network",
            "give a name of timm.list_models()",
        )  # fmt: skip
    is_folder = name in ("dinov2", "clip")
    last, wanted = ("model", "expected_digest") if is_folder else ("weights", "sha256")
    field, place = f"networks.{name}.{last}", getattr(config, last)
    model = (find_model if is_folder else find_file)(place, field=field)
    expected = getattr(config, wanted)
    if expected not in (None, model.digest):
        raise ConfigError(
            field, place, f"has the digest {model.digest}, not {expected}",
            f"give those weights, or another networks.{name}.{wanted}",
        )  # fmt: skip
    return NetworkExtractor(
        name, _columns(name), model, networks.batch_size,
        getattr(config, {"timm": "name", LPIPS: "net"}.get(name, ""), ""),
    )  # fmt: skip


def _columns(name: str) -> tuple[str, ...]:
    return (CLIP, TEXT, CUT) if name == CLIP else (name,)


def _rows(features: torch.Tensor) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = features.float().cpu().numpy()
    return rows
