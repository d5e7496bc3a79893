"""Loads what is to be served: by what lies there, one of three ways of drawing."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.jobs.drawing.config import DrawingConfig
from darkroom.jobs.serve.class_model import ServedClassModel
from darkroom.jobs.serve.joined import AnyModel
from darkroom.jobs.serve.source import ModelSource
from darkroom.models.find import find_model
from darkroom.storage import open_artifact


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
    if found.manifest_digest is not None:
        finetuned = FinetunedInfo.found_in(open_artifact(str(found.uri)))
        if finetuned is None:
            if source.loras:
                raise ConfigError(
                    "loras", next(iter(source.loras)), f"{source.name} draws classes and takes none"
                )
            return ServedClassModel(source, config, found)
        if finetuned.method == "lora":
            raise ConfigError(
                "models", source.model, "is a LoRA",
                "give its base as the model, and it among the LoRAs",
            )  # fmt: skip
    from darkroom.jobs.serve.load_pipeline import load_text_to_image  # seconds to import

    return load_text_to_image(source, config, found)
