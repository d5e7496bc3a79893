"""A look at one picture of a set: what is wrong with all is said before anything is written."""

from __future__ import annotations

from darkroom.errors import DataError
from darkroom.jobs.measuring.comparison import SET
from darkroom.jobs.measuring.source import ComparedPictures
from darkroom.jobs.measuring.stages import PictureRead, PixelDecode, Reading
from darkroom.jobs.rejects import Rejects

_LOOKED_AT = 64
"""Pictures that are looked at together for one that can be used."""


def check_first(drawn: ComparedPictures, reading: Reading) -> None:
    """Decode one.

    Errors: DataError when none can be used, or the first has another size than the reference's.
    """
    read, decode = PictureRead(reading, _LOOKED_AT), PixelDecode(reading)
    rejects = Rejects("decode")
    rejects.found += drawn.rejected
    for start in range(0, len(drawn.rows), _LOOKED_AT):
        rows = read(drawn.rows.slice(start, _LOOKED_AT), rejects)
        for at in range(len(rows)):
            if len(decode(rows.slice(at, 1), rejects)):
                return
    field, origin = reading.origin(drawn.rows[SET][0].as_py())
    last = rejects.found[-1]
    others = f" and {len(rejects.found) - 1} others" if len(rejects.found) > 1 else ""
    raise DataError(
        field, origin.uri,
        f"{last.id}{others} cannot be read ({last.reason}: {last.detail})",
        "give JPEG, PNG or WebP files",
    )  # fmt: skip
