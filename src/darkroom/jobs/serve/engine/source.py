"""Which model the engine loads: a name for clients, a place, and the LoRAs over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from darkroom.jobs.drawing.config import LoraUse
from darkroom.jobs.serve.request import Defaults


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """One model to serve. Plain data, which Ray can carry."""

    name: str
    """As requests say it."""
    model: str
    """What `darkroom train` or `finetune` published, or a diffusers folder: path, URI or hub id."""
    digest: str | None = None
    """What it must be; None takes what lies there."""
    variant: str | None = None
    """Of a diffusers folder's weights ("fp16")."""
    loras: Mapping[str, LoraUse] = field(default_factory=dict)
    """Name -> LoRA."""
    width: int | None = None
    """Pixels of a picture where a request does not say; None takes the model's own."""
    height: int | None = None
    defaults: Defaults | None = None
    """What a request that does not say gets; None takes the model's own."""
