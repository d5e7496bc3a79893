"""Pictures of prompts, as `darkroom generate` publishes them: rows in `data/part-NNNNN.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from darkroom.jobs.artifacts.batch import BatchInfo
from darkroom.jobs.artifacts.kind import Kind


@dataclass(frozen=True, kw_only=True)
class PicturesInfo(BatchInfo):
    """What the manifest of pictures says of them."""

    kind: ClassVar[Kind] = Kind.PICTURES
    verb: ClassVar[str] = "generate"

    stages: tuple[str, ...]
    """Those that ran: join, enhance, draw."""
    num_prompts_cut: int
    """Prompts that the text encoder cut off."""
