"""Small text files that people wrote: captions, labels."""

from __future__ import annotations

import json

from darkroom.errors import DataError


def text_of(data: bytes, *, where: str, field: str) -> str:
    """The text in `data`: UTF-8, with or without a mark in front, or UTF-16 or 32 as JSON may be.

    Errors: DataError naming `field` and `where`.
    """
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise DataError(
            field,
            where,
            f"is not UTF-8 text (byte 0x{data[error.start]:02x} at {error.start})",
            "save it as UTF-8",
        ) from None
