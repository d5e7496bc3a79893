"""Loads the network of a trained model from its artifact, with the EMA weights.

Assumes the layout that `darkroom train` publishes: a diffusers folder under `model/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from darkroom.errors import DataError
from darkroom.models.find import artifact_copy
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DModel

UNET_FOLDER = "model/unet/"


def load_unet(artifact: Artifact, device: torch.device | str = "cpu") -> UNet2DModel:
    """The model's U-Net on `device`, in evaluation mode; every file's digest is verified.

    Errors: DataError where the weights do not load, or hold NaN or infinite values.
    """
    # Seconds to import, for a driver that only reads what the manifest says.
    import torch
    from diffusers import UNet2DModel

    with artifact_copy(artifact, UNET_FOLDER) as folder:
        try:
            unet, found = UNet2DModel.from_pretrained(
                folder, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
            )
        except Exception as error:  # a file that lies raises anything
            problem = " ".join((str(error) or type(error).__name__).split())[:300]
            raise _unfit(
                artifact, f"does not load as safetensors of its U-Net ({problem})"
            ) from error
    if missing := sorted(found["missing_keys"]):  # it would draw with random weights
        raise _unfit(artifact, f"lacks {len(missing)} of its weights, first {missing[0]}")
    for name, parameter in unet.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise _unfit(artifact, f"has NaN or infinite weights in {name}")
    return unet.to(device).eval()


def _unfit(artifact: Artifact, problem: str) -> DataError:
    return DataError("input", str(artifact.uri), problem, "publish it again with `darkroom train`")
