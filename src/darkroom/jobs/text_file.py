"""Small text files that people wrote: captions, labels."""

from __future__ import annotations

from darkroom.errors import DataError
from darkroom.jobs.tables.encoded import decoded, plain_bytes


def text_of(data: bytes, *, where: str, field: str) -> str:
    """The text in `data`, whatever it is packed in and whichever mark stands in front.

    Errors: DataError naming `field` and `where`.
    """
    text = decoded(plain_bytes(data, field=field, where=where), field=field, where=where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise DataError(
            field, where, f"is not UTF-8 text (a byte of line {line})", "save it as UTF-8"
        ) from None
    return text
