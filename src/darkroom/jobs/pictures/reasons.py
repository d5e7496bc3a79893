"""Why a picture file cannot be used: one code each, the same in every verb."""

from __future__ import annotations

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
"""docs/verbs/prepare.md explains each."""
