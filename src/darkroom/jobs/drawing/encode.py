"""The stage after drawing: pixels to PNG, and the files that pictures are kept in.

Runs in tasks on CPUs, so that a GPU need not wait for compression.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from PIL import Image

from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.rejects import Rejects

NUM_ENCODERS = 2


def encode_stage(constants: Mapping[str, object]) -> Stage:
    """The stage; `constants` are columns that are equal in all rows."""
    return Stage(name="encode", make=partial(Encoder, constants), num_workers=NUM_ENCODERS)


class Encoder:
    """Completes a piece's rows: `pixels` and `frames` become PNGs in `image` and `frames`."""

    def __init__(self, constants: Mapping[str, object]) -> None:
        self._constants = constants

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        columns |= {name: pa.array([value] * len(table)) for name, value in self._constants.items()}
        if columns.pop("pixels", None) is not None:
            rows = table.select(["width", "height", "pixels", "frames"]).to_pylist()
            pngs = [_png(row["pixels"], row) for row in rows]
            frames = [[_png(frame, row) for frame in row["frames"]] for row in rows]
            columns["image"] = pa.array(pngs, pa.binary())
            columns["frames"] = pa.array(frames, pa.list_(pa.binary()))
            columns["sha256"] = pa.array([hashlib.sha256(png).hexdigest() for png in pngs])
            columns["file_name"] = pa.array([file_name(i) for i in table["id"].to_pylist()])
        return pa.table(columns)


def image_files(table: pa.Table) -> Iterator[PieceFile]:
    """The PNG tree: a finished piece's pictures."""
    yield from map(PieceFile, table["file_name"].to_pylist(), table["image"].to_pylist())


def file_name(row_id: str) -> str:
    """`images/<id>.png`; what a file name cannot hold everywhere is percent-encoded, unmistakably.

    An encoded id of more than 180 characters ends in its digest instead.
    """
    safe = quote(row_id, safe="").replace("~", "%7E")
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) > 180:
        safe = f"{safe[:140]}~{hashlib.sha256(row_id.encode()).hexdigest()[:32]}"
    return f"images/{safe}.png"


def _png(pixels: bytes, row: Mapping[str, Any]) -> bytes:
    """A picture of the row's size, one byte or three a pixel."""
    flat = np.frombuffer(pixels, np.uint8)
    size = (row["height"], row["width"])
    buffer = io.BytesIO()
    picture = flat.reshape(size if len(flat) == size[0] * size[1] else (*size, -1))
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
