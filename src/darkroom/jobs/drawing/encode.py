"""The stage after drawing: pixels to PNG with their origin, and the files that they are kept in.

Runs in tasks on CPUs, so that a GPU need not wait for compression.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.drawing.config import SigningConfig
from darkroom.jobs.drawing.picture_bytes import Origin, Sign, picture_bytes
from darkroom.jobs.drawing.signing import signing_of
from darkroom.jobs.rejects import Rejects

NUM_ENCODERS = 2
_DRAWN = ["width", "height", "seed", "prompt_digest", "pixels", "frames"]


def encode_stage(
    constants: Mapping[str, object],
    *,
    model_digest: str | None,
    lora_digest: str | None = None,
    signing: SigningConfig | None = None,
) -> Stage:
    """The stage; `constants` are columns that are equal in all rows, the digests those of what
    drew (None where nothing did)."""
    make = partial(
        Encoder, constants, model_digest=model_digest, lora_digest=lora_digest, signing=signing
    )
    return Stage(name="encode", make=make, num_workers=NUM_ENCODERS)


class Encoder:
    """Completes a piece's rows: `pixels` and `frames` become PNGs in `image` and `frames`."""

    def __init__(
        self,
        constants: Mapping[str, object],
        *,
        model_digest: str | None,
        lora_digest: str | None = None,
        signing: SigningConfig | None = None,
    ) -> None:
        self._constants = constants
        self._model_digest, self._lora_digest = model_digest, lora_digest
        self._signing = signing

    @cached_property
    def _sign(self) -> Sign | None:
        return signing_of(self._signing)

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        columns |= {name: pa.array([value] * len(table)) for name, value in self._constants.items()}
        if columns.pop("pixels", None) is not None:
            del columns["prompt_digest"]
            rows = table.select(_DRAWN).to_pylist()
            pngs = [self._png(row["pixels"], row) for row in rows]
            frames = [[self._png(frame, row) for frame in row["frames"]] for row in rows]
            columns["image"] = pa.array(pngs, pa.binary())
            columns["frames"] = pa.array(frames, pa.list_(pa.binary()))
            columns["sha256"] = pa.array([hashlib.sha256(png).hexdigest() for png in pngs])
            columns["file_name"] = pa.array([file_name(i) for i in table["id"].to_pylist()])
        return pa.table(columns)

    def _png(self, pixels: bytes, row: Mapping[str, Any]) -> bytes:
        """A picture of the row's size, one byte or three a pixel."""
        flat = np.frombuffer(pixels, np.uint8)
        size = (row["height"], row["width"])
        origin = Origin(
            model_digest=self._model_digest or "",
            seed=row["seed"],
            prompt_digest=row["prompt_digest"],
            lora_digest=self._lora_digest,
        )
        picture = flat.reshape(size if len(flat) == size[0] * size[1] else (*size, -1))
        return picture_bytes(picture, origin, sign=self._sign)


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
