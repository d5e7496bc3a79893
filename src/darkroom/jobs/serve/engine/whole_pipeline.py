"""Any other text-to-image pipeline of diffusers: one picture at a time, to its end.

Its callback after each step is where a picture is given up, or looked at on the way; a pipeline
without one draws on, and gives no previews.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from darkroom.diffusion.seeds import image_seed
from darkroom.errors import ServingError
from darkroom.jobs.drawing.drawer import NOT_FINITE, Pixels, unit_levels
from darkroom.jobs.serve.engine.joined import Finished, OnStep
from darkroom.jobs.serve.engine.loras import Loras
from darkroom.jobs.serve.request import DrawRequest, ServedModel

_CALLBACK = "callback_on_step_end"


class WholePipeline:
    """Fulfils WholeModel. pipeline: on its device."""

    def __init__(self, served: ServedModel, pipeline: Any, loras: Loras) -> None:
        self.served, self._pipeline, self._loras = served, pipeline, loras
        self._takes = inspect.signature(pipeline.__call__).parameters

    def draw(self, request: DrawRequest, on_step: OnStep) -> Finished:
        self._loras.use(request.lora)
        seed = image_seed(request.seed, request.index)
        options = {
            "prompt": [request.prompt],
            "negative_prompt": request.negative_prompt and [request.negative_prompt],
            "num_inference_steps": request.num_steps,
            "guidance_scale": request.guidance,
            "width": request.width,
            "height": request.height,
            # On the CPU whatever the device: the same noise on every machine.
            "generator": [torch.Generator("cpu").manual_seed(seed)],
            _CALLBACK: self._callback(on_step),
        }
        given = {
            name: value
            for name, value in options.items()
            if value is not None and name in self._takes
        }
        result = self._pipeline(**given, output_type="np")
        image = result.images[0]
        if not np.isfinite(image).all():
            raise ServingError(NOT_FINITE)
        flagged = getattr(result, "nsfw_content_detected", None)
        return Finished(unit_levels(image), bool(flagged and flagged[0]))

    def _callback(self, on_step: OnStep) -> Any:
        def after_step(
            _pipeline: Any, index: int, _t: Any, given: dict[str, Any]
        ) -> dict[str, Any]:
            on_step(index + 1, lambda: self._look(given.get("latents")))
            return {}

        return after_step

    def _look(self, latents: Any) -> Pixels | None:
        """Latents decoded as they are; None where that is not how this pipeline does it, and where
        it has a safety checker, which sees the finished picture alone."""
        if getattr(self._pipeline, "safety_checker", None) is not None:
            return None
        vae = getattr(self._pipeline, "vae", None)
        if vae is None or getattr(latents, "ndim", 0) != 4:
            return None
        try:
            image = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
        except (AttributeError, RuntimeError):
            return None
        unit = (image[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0)
        return unit_levels(torch.nan_to_num(unit).float().cpu().numpy())
