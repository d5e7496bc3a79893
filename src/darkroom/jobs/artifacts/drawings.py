"""Drawings: the pictures of one job of `darkroom serve`, each a file under `pictures/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from darkroom.jobs.artifacts.info import Info
from darkroom.jobs.artifacts.kind import Kind


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """What draws a picture again. In the metadata of its file, too."""

    model: str
    """The name under which it was served."""
    model_digest: str
    lora: str | None
    lora_digest: str | None
    seed: int
    index: int
    """Which picture of the seed."""
    num_steps: int
    guidance: float
    sampler: str
    width: int
    """Pixels."""
    height: int
    prompt_digest: str
    """sha256 of the prompt, or of the class's name."""


@dataclass(frozen=True, kw_only=True)
class DrawingsInfo(Info):
    """What the manifest of a job's pictures says of them."""

    kind: ClassVar[Kind] = Kind.DRAWINGS
    verb: ClassVar[str] = "serve"

    job: str
    num_pictures: int
    num_failed: int
    """Pictures that could not be drawn."""
    model: str
    model_digests: tuple[str, ...]
    """More than one where the weights were exchanged meanwhile."""
