"""Which drawer fits which settings."""

from __future__ import annotations

from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig, TextDrawingConfig
from darkroom.jobs.drawing.drawer import Drawer
from darkroom.jobs.drawing.text_to_image import TextToImageDrawer
from darkroom.models.find import FoundModel


def load_drawer(
    config: ClassDrawingConfig | TextDrawingConfig,
    model: FoundModel,
    *,
    lora: FoundModel | None = None,
    prefix: str = "",
) -> Drawer:
    """The model on this process's device.

    lora: the one that the config asks for. prefix: of the config's fields in messages.

    Errors: ConfigError and DataError when it cannot be loaded.
    """
    if isinstance(config, ClassDrawingConfig):
        return ClassConditionalDrawer(config, model, prefix=prefix)
    return TextToImageDrawer(config, model, lora=lora, prefix=prefix)
