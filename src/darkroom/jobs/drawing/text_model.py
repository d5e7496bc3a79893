"""Whether a model can draw what it is told in words: asked of it before any worker starts."""

from __future__ import annotations

from darkroom.errors import ConfigError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.model import FinetunedInfo
from darkroom.messages import with_article
from darkroom.models.families.find import INDEX_NAME
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
    check_is_model(model, field=field)
    if model.kind != Kind.MODEL:
        return None
    info = finetuned_info(model, field=field, lora_field=lora_field)
    if info is None:
        raise ConfigError(
            field, model.name, "was published by `darkroom train`: it takes classes, not texts",
            classes,
        )  # fmt: skip
    return info


def check_is_model(model: FoundModel, *, field: str) -> None:
    """Errors: ConfigError for what is neither a published model nor a diffusers folder."""
    if model.kind == Kind.MODEL:
        return
    if model.manifest_digest is not None:
        raise ConfigError(
            field, model.name, f"holds {with_article(model.kind)}", "give the URI of a model"
        )
    if not any(name == INDEX_NAME for name, _ in model.files):
        raise ConfigError(
            field, model.name, f"is no diffusers folder: it has no {INDEX_NAME}",
            "give the folder that save_pretrained wrote for a whole pipeline",
        )  # fmt: skip


def finetuned_info(model: FoundModel, *, field: str, lora_field: str) -> FinetunedInfo | None:
    """What `finetune` says of a published model; None for one of `train`.

    Errors: ConfigError for a LoRA in the place of its base.
    """
    info = FinetunedInfo.found_in(open_artifact(str(model.uri)))
    if info is not None and info.method == "lora":
        raise ConfigError(
            field, model.name, "is a LoRA, which draws over its base",
            f"give the base as {field} and this as {lora_field}",
        )  # fmt: skip
    return info
