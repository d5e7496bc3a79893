"""Why a picture file was not used: one reason code each, the same in every verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "empty",
    "too_many_bytes",
    "not_an_image",
    "unsupported_format",
    "too_many_pixels",
    "too_small",
    "animated",
    "truncated",
    "corrupt",
    "no_class",
    "bad_name",
    "unreadable",
    "no_caption",
    "missing",
]
"""Why a file became a dead letter; docs/verbs/prepare.md explains each."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A file that was not used, and why."""

    path: str
    reason: Reason
    detail: str
