"""What `cache` publishes of a row. Needs no torch, which its driver does not load."""

from __future__ import annotations

import pyarrow as pa

from darkroom.jobs.artifacts.latents import TEXT_COLUMNS
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.cache.read import READ_SCHEMA

TEXT_SCHEMA = pa.schema([READ_SCHEMA.field(name) for name in TEXT_COLUMNS])
LATENTS_SCHEMA = pa.schema(
    [
        *(READ_SCHEMA.field(name) for name in (ID, "caption", "height", "width")),
        ("latents", pa.binary()),
        READ_SCHEMA.field("latents_shape"),
        *TEXT_SCHEMA,
        *(READ_SCHEMA.field(name) for name in ("is_truncated", "picture_keys", "text_key")),
    ]
)
"""What is published of a row. `latents` has, of each variant, the mean and the log-variance:
shape (K, 2, C, H, W)."""
COUNTS = ("num_encoded", "num_reused", "num_texts")
"""Columns beside those: encodings that were made, taken from the earlier cache, texts made."""
