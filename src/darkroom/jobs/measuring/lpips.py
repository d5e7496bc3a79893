"""LPIPS in its actor: the distance of each pair of pictures, the only thing of it that is kept.

The backbone is torchvision's, with weights that the user gives; what weighs its channels are the
few kilobytes that people's judgements were fitted to, as torchmetrics carries them. Pictures keep
their own size; grey ones are given three equal channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.errors import DarkroomError
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.comparison import LPIPS, PIXELS, column_bytes, feature_column
from darkroom.jobs.measuring.networks import Images, NetworkExtractor
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.rejects import Rejects

if TYPE_CHECKING:
    from torch import Tensor

PARTNER_PIXELS = "partner_pixels"
"""Column of the decoded rows: the second picture of the pair; null where there is none."""

_FIELD = "networks.lpips.weights"
_BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
_CHANNEL_WEIGHTS = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}
"""Digests of version 0.1 of the weights of channels: with others it is another distance."""

Distances = Callable[[Images, Images], NDArray[np.float32]]


def load_lpips(extractor: NetworkExtractor, workers: WorkerConfig) -> Distances:
    """Pictures (N, C, H, W) and their partners to distances (N,), on the worker's device.

    Errors: DataError for weights of another network.
    """
    import torch
    import torchvision

    from darkroom.jobs.drawing.device import DTYPES, prepare_device
    from darkroom.metrics.lpips import Lpips
    from darkroom.models.state import fit_state, read_state

    found = extractor.model
    backbone: Any = getattr(torchvision.models, _BACKBONES[extractor.variant])(weights=None)
    with found.local() as folder:
        state, _ = read_state(folder / found.files[0][0], where=found.name, field=_FIELD)
    fit_state(backbone, state, where=found.name, field=_FIELD)
    network = Lpips(extractor.variant, backbone.features, channel_weights(extractor.variant))
    dtype = DTYPES[workers.precision]
    device = prepare_device(workers, found.weights_bytes, prefix="extractors.")
    network.to(device, dtype).eval()

    def pictures(images: Images) -> Tensor:
        coloured = images if images.shape[1] == 3 else images.repeat(3, axis=1)
        return torch.from_numpy(np.ascontiguousarray(coloured)).to(device, dtype) / 255

    def distances(images: Images, partners: Images) -> NDArray[np.float32]:
        step = extractor.batch_size
        with torch.inference_mode():
            made = [
                network(pictures(images[at : at + step]), pictures(partners[at : at + step])).cpu()
                for at in range(0, len(images), step)
            ]
        return torch.cat(made).numpy()

    return distances


def channel_weights(net: str) -> Sequence[Tensor]:
    """The weights of the channels of each layer, (C,). Errors: DarkroomError for other ones."""
    from darkroom.models.state import read_state

    resource = files("torchmetrics") / "functional" / "image" / "lpips_models" / f"{net}.pth"
    if hashlib.sha256(resource.read_bytes()).hexdigest() != _CHANNEL_WEIGHTS[net]:
        raise DarkroomError(f"the installed torchmetrics has other LPIPS weights for {net}")
    with as_file(resource) as path:
        state: Mapping[str, Tensor] = read_state(path, where=f"LPIPS weights of {net}")[0]
    return [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(len(state))]


class PairStage:
    """Adds the distance of each picture to its partner: NaN where there is none."""

    def __init__(
        self, extractor: NetworkExtractor, shape: ImageShape, workers: WorkerConfig
    ) -> None:
        self._extractor, self._shape, self._workers = extractor, shape, workers

    def __call__(self, rows: pa.Table, rejects: Rejects) -> pa.Table:
        has_partner = rows[PARTNER_PIXELS].is_valid()
        pairs = rows.filter(has_partner)
        distances = np.full((len(rows), 1), np.nan, np.float32)
        if len(pairs):
            distances[np.flatnonzero(has_partner), 0] = self._distances(
                *(self._images(pairs[column]) for column in (PIXELS, PARTNER_PIXELS))
            )
        kept = rows.drop_columns([PARTNER_PIXELS])
        return kept.append_column(LPIPS, feature_column(distances))

    def _images(self, column: pa.ChunkedArray) -> Images:
        return column_bytes(column).reshape(-1, *self._shape.chw)

    @cached_property
    def _distances(self) -> Distances:
        """Loaded with the first piece: its time then counts as the stage's."""
        return load_lpips(self._extractor, self._workers)
