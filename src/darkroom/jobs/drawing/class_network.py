"""The network of a model that `darkroom train` published, on this process's device.

What draws with it brings the noise, the steps and the guidance.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darkroom.errors import DarkroomError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.drawing.config import DrawingConfig
from darkroom.jobs.drawing.device import DTYPES, prepare_device, tune
from darkroom.jobs.drawing.drawer import Pixels
from darkroom.jobs.pictures.layout import nfc
from darkroom.models.find import FoundModel
from darkroom.models.unet import load_unet
from darkroom.pages.sheet import as_picture, grey_levels
from darkroom.storage import open_artifact


class ClassNetwork:
    """A loaded network and what its manifest says of it.

    Errors: ConfigError and DataError when it cannot be loaded; DarkroomError where it is not the
    one that was found.
    """

    def __init__(self, config: DrawingConfig, model: FoundModel, *, prefix: str = "") -> None:
        self._config = config
        self.device = prepare_device(config, model.weights_bytes, prefix=prefix)
        artifact = open_artifact(str(model.uri))
        if artifact.content_digest != model.digest:
            raise DarkroomError(f"{model.uri} was published anew while the job ran; run it again")
        self.info = ModelInfo.of(artifact, field=f"{prefix}model")
        self._unet: Any = load_unet(artifact, self.device).to(DTYPES[config.precision])
        tune(self._unet, config)

    @cached_property
    def labels(self) -> dict[str, int]:
        """Class -> its label; names in Unicode's composed form."""
        return {nfc(name): label for label, name in enumerate(self.info.classes)}

    def predict(self, x_BCHW: Tensor, t: Tensor, **labels: Tensor) -> Tensor:
        """The network's answer, float32."""
        layout = torch.channels_last if self._config.channels_last else torch.preserve_format
        x_BCHW = x_BCHW.to(dtype=self._unet.dtype, memory_format=layout)
        prediction: Tensor = self._unet(x_BCHW, t, **labels).sample
        return prediction.float()


def to_picture(x_CHW: Tensor) -> Pixels:
    """Values in [-1, 1] as a picture; what is no number is grey."""
    levels = grey_levels(np.nan_to_num(x_CHW.float().cpu().numpy()))
    return as_picture(levels)
