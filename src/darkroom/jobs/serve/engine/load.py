"""Loads what is to be served: by what lies there, one of three ways of drawing."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.drawing.config import DrawingConfig
from darkroom.jobs.drawing.text_model import finetuned_info
from darkroom.jobs.serve.engine.class_model import ServedClassModel
from darkroom.jobs.serve.engine.joined import AnyModel
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.models.find import find_model


def load_served(source: ModelSource, config: DrawingConfig) -> AnyModel:
    """The model on this process's device.

    Errors: ConfigError and DataError when it cannot be loaded, or is not the one of the digest.
    """
    found = find_model(source.model, field="models", variant=source.variant)
    if source.digest not in (None, found.digest):
        raise ConfigError(
            "models", source.model, f"has the digest {found.digest[:12]}, not {source.digest}",
            "give the digest of what lies there, or none",
        )  # fmt: skip
    published = found.manifest_digest is not None
    if published and finetuned_info(found, field="models", lora_field="loras") is None:
        if source.loras:
            raise ConfigError(
                "loras", next(iter(source.loras)), f"{source.name} draws classes and takes none",
                "leave it out, or give its base as the first model",
            )  # fmt: skip
        return ServedClassModel(source, config, found)
    from darkroom.jobs.serve.engine.load_pipeline import load_text_to_image  # seconds to import

    return load_text_to_image(source, config, found)
