"""Loads a text-to-image folder: by its family where steps can be joined, else as a whole."""

from __future__ import annotations

import inspect
from typing import Any

from darkroom.jobs.drawing.config import DrawingConfig
from darkroom.jobs.drawing.device import prepare_device, tune
from darkroom.jobs.drawing.text_to_image import load_pipeline
from darkroom.jobs.serve.engine.family_model import FamilyModel
from darkroom.jobs.serve.engine.joined import AnyModel
from darkroom.jobs.serve.engine.loras import Loras
from darkroom.jobs.serve.engine.schedulers import samplers_of
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.engine.whole_pipeline import WholePipeline
from darkroom.jobs.serve.request import Defaults, ServedModel
from darkroom.models.families.base import BaseModel
from darkroom.models.families.family import Family
from darkroom.models.families.find import FAMILIES
from darkroom.models.find import FoundModel

MAX_SIDE = 2048
_LEAST_LATENTS = 8
"""On a side: smaller pictures do not survive the network's halvings."""


def load_text_to_image(source: ModelSource, config: DrawingConfig, found: FoundModel) -> AnyModel:
    """On this process's device. Errors: ConfigError where it, or a LoRA of it, cannot be loaded."""
    device = prepare_device(config, found.weights_bytes)
    pipeline = load_pipeline(
        found, precision=config.precision, variant=source.variant, field="models",
        remedy="give a diffusers text-to-image folder with safetensors, or what `darkroom train` "
        "or `darkroom finetune` published",
    )  # fmt: skip
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    network = getattr(pipeline, "transformer", None) or pipeline.unet
    tune(network, config)
    loras = Loras(pipeline, source.loras, found)
    family = _joinable_family(pipeline, network)
    served = _served(source, found, pipeline, family, loras)
    if family is None:
        return WholePipeline(served, pipeline, loras)
    return FamilyModel(served, BaseModel(family, pipeline, pipeline.vae.config), loras)


def _joinable_family(pipeline: Any, network: Any) -> Family | None:
    """None for other classes, and for networks that want more than noise, time and text."""
    name = type(pipeline).__name__
    family = next((each for each in FAMILIES if each.pipeline == name), None)
    if family is None or network.config.get("time_cond_proj_dim") is not None:
        return None
    return family


def _served(
    source: ModelSource, found: FoundModel, pipeline: Any, family: Family | None, loras: Loras
) -> ServedModel:
    takes = inspect.signature(pipeline.__call__).parameters
    factor = int(getattr(pipeline, "vae_scale_factor", 8))
    width, height = _usual_size(source, pipeline, factor)
    is_flux = family is not None and family.name == "flux"
    guidable = not is_flux or bool(pipeline.transformer.config.guidance_embeds)
    own = Defaults(
        num_steps=int(takes["num_inference_steps"].default),
        guidance=float(takes["guidance_scale"].default) if "guidance_scale" in takes else 1.0,
        sampler="own",
    )
    multiple = factor if family is None else family.pixel_multiple(pipeline.vae.config)
    return ServedModel(
        name=source.name,
        digest=found.digest,
        kind="prompt",
        width=width,
        height=height,
        side_multiple=multiple,
        min_side=min(width, height, _LEAST_LATENTS * factor),
        max_side=max(MAX_SIDE, width, height),
        max_steps=int(pipeline.scheduler.config.get("num_train_timesteps", 1000)),
        samplers=("own",) if family is None else samplers_of(family),
        guidable=guidable,
        negative_prompts="negative_prompt" in takes and not is_flux,
        defaults=source.defaults or own,
        loras=loras.digests,
        steps_joined=family is not None,
        origin=found.as_parent("model"),
        lora_origins=loras.origins,
    )


def _usual_size(source: ModelSource, pipeline: Any, factor: int) -> tuple[int, int]:
    """Width and height that are asked for, or that the pipeline draws by itself."""
    size = getattr(pipeline, "default_sample_size", None)
    if size is None:
        network = getattr(pipeline, "unet", None) or pipeline.transformer
        size = network.config.get("sample_size") or 64
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return source.width or int(width) * factor, source.height or int(height) * factor
