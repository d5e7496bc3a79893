"""Draws with any diffusers text-to-image pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.drawing.config import Precision, TextDrawingConfig
from darkroom.jobs.drawing.device import DTYPES, prepare_device, tune
from darkroom.jobs.drawing.drawer import Drawn, Request, not_finite, refused, unit_levels
from darkroom.jobs.drawing.lora import load_lora
from darkroom.jobs.rejects import Reject
from darkroom.models.families.base import check_weights
from darkroom.models.find import FoundModel, unloadable


class TextToImageDrawer:
    """The pipeline on this process's device."""

    def __init__(
        self,
        config: TextDrawingConfig,
        model: FoundModel,
        *,
        lora: FoundModel | None = None,
        prefix: str = "",
    ) -> None:
        self._config = config
        device = prepare_device(config, model.weights_bytes, prefix=prefix)
        self._pipeline = load_pipeline(
            model, precision=config.precision, variant=config.variant, field=f"{prefix}model",
            remedy="give a diffusers text-to-image folder with safetensors; a model that "
            f"`darkroom train` published needs {prefix}kind class_conditional",
        )  # fmt: skip
        if config.lora is not None and lora is not None:
            load_lora(self._pipeline, config.lora, lora, field=f"{prefix}lora")
        self._pipeline.to(device)
        self._pipeline.set_progress_bar_config(disable=True)
        tune(getattr(self._pipeline, "transformer", None) or self._pipeline.unet, config)
        if config.attention_slicing:
            self._pipeline.enable_attention_slicing()
        if config.vae_slicing:
            self._pipeline.vae.enable_slicing()
        if config.vae_tiling:
            self._pipeline.vae.enable_tiling()

    def count_tokens(self, text: str) -> tuple[int, int] | None:
        """By the text encoder that cuts most; start and end tokens are counted, as it does."""
        counts = []
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(self._pipeline, name, None)
            if tokenizer is not None:
                num = len(tokenizer(text, truncation=False, verbose=False).input_ids)
                counts.append((num, max(0, num - int(tokenizer.model_max_length))))
        return max(counts, key=lambda count: count[1], default=None)

    def refusal(self, request: Request) -> Reject | None:
        return None

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request]) -> list[Drawn | Reject]:
        config = self._config
        options: dict[str, Any] = {"width": config.width, "height": config.height}
        if config.negative_prompt is not None:
            options["negative_prompt"] = [config.negative_prompt] * len(requests)
        result = self._pipeline(
            prompt=[request.text for request in requests],
            num_inference_steps=config.num_steps,
            guidance_scale=config.guidance_scale,
            # On the CPU whatever the device: the same noise on every machine.
            generator=[torch.Generator("cpu").manual_seed(item.seed) for item in requests],
            output_type="np",
            **{name: value for name, value in options.items() if value is not None},
        )
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(requests)
        return [
            _drawn(request, x, flagged=bool(flag))
            for request, x, flag in zip(requests, result.images, flagged, strict=True)
        ]


def _drawn(request: Request, x_HWC: NDArray[np.float32], *, flagged: bool) -> Drawn | Reject:
    if flagged:
        return refused(request, "safety_checker", "the model's safety checker blanked the picture")
    if not np.isfinite(x_HWC).all():
        return not_finite(request)
    return Drawn(unit_levels(x_HWC))


def load_pipeline(
    model: FoundModel, *, precision: Precision, variant: str | None, field: str, remedy: str
) -> Any:
    """The model's pipeline, on the CPU. Errors: ConfigError naming `field` where it cannot be
    loaded."""
    from diffusers import AutoPipelineForText2Image
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    options: dict[str, Any] = {"variant": variant} if variant else {}
    with model.local() as folder:
        try:
            pipeline = AutoPipelineForText2Image.from_pretrained(
                folder, dtype=DTYPES[precision], use_safetensors=True, local_files_only=True,
                **options,
            )  # fmt: skip
            check_weights(pipeline, folder)
        except Exception as error:  # a file that lies raises anything
            if is_out_of_memory(error):
                raise
            raise unloadable(folder, error, field=field, model=model.name, remedy=remedy) from error
    return pipeline
