"""Loads a trained model from its artifact: what it is, and its network with the EMA weights.

Assumes the layout that `darkroom train` publishes (a diffusers folder under `model/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from darkroom.errors import DataError
from darkroom.models.find import artifact_copy
from darkroom.storage import Artifact

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DModel

UNET_FOLDER = "model/unet/"

PredictionType = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class ModelInfo:
    """What the artifact says of a model, without its weights."""

    uri: str
    digest: str
    """sha256 of the manifest: names these very weights."""
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    class_conditional: bool
    """Whether the network takes labels."""
    null_class: int | None
    """Label that stands for "no class"; None when the model cannot be guided."""
    prediction_type: PredictionType
    schedule: Mapping[str, Any]
    """Values of a diffusion ScheduleConfig."""
    step: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (self.channels, *self.image_size)


def read_model_info(artifact: Artifact) -> ModelInfo:
    """What `artifact` says of its model. Errors: DataError when a needed value is missing."""
    metadata = artifact.manifest.metadata
    num_class_embeds = _num_class_embeds(artifact)
    try:
        height, width = metadata["image_size"]
        return ModelInfo(
            uri=str(artifact.uri),
            digest=artifact.digest,
            classes=tuple(metadata["classes"]),
            image_size=(int(height), int(width)),
            channels=int(metadata["channels"]),
            class_conditional=num_class_embeds is not None,
            null_class=metadata["null_class"],
            prediction_type=metadata["prediction_type"],
            schedule=metadata["schedule"],
            step=int(metadata.get("step", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "input", str(artifact.uri), f"is a model whose manifest lacks what drawing needs "
            f"({error!r})", "publish it with `darkroom train`",
        ) from None  # fmt: skip


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


def _num_class_embeds(artifact: Artifact) -> int | None:
    try:
        values = artifact.read_json(f"{UNET_FOLDER}config.json")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise _unfit(artifact, f"has no JSON object in {UNET_FOLDER}config.json")
    number: int | None = values.get("num_class_embeds")
    return number
