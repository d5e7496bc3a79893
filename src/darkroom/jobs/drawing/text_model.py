"""Whether a model can draw what it is told in words: asked of it before any worker starts."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.models.find import FoundModel
from darkroom.storage import open_artifact


def check_text_model(
    model: FoundModel,
    *,
    field: str,
    lora_field: str,
    classes: str = "leave out the prompts, and name classes",
) -> FinetunedInfo | None:
    """What `finetune` says of it; None for a folder that Darkroom did not publish.

    lora_field: where a LoRA belongs. classes: the remedy for a model of classes.
    Errors: ConfigError for a model of classes, and for a LoRA in the place of its base.
    """
    if model.kind != Kind.MODEL:
        return None
    info = FinetunedInfo.found_in(open_artifact(str(model.uri)))
    if info is None:
        raise ConfigError(
            field, model.name, "was published by `darkroom train`: it takes classes, not texts",
            classes,
        )  # fmt: skip
    if info.method == "lora":
        raise ConfigError(
            field, model.name, "is a LoRA, which draws over its base",
            f"give the base as {field} and this as {lora_field}",
        )  # fmt: skip
    return info
