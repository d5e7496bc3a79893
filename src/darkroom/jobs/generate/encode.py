"""The last stage: pixels to PNG, and the columns in the published order.

Runs in tasks on CPUs, so that a GPU need not wait for compression. With no picture drawn it only
puts the columns in order.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from PIL import Image

from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.rejects import Rejects
from darkroom.models.find import FoundModel

_ADDED = {
    "num_tokens": pa.int32(),
    "num_tokens_cut": pa.int32(),
    "seed": pa.int64(),
    "num_steps": pa.int32(),
    "guidance_scale": pa.float64(),
    "model": pa.string(),
    "model_digest": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "file_name": pa.string(),
    "sha256": pa.string(),
    "image": pa.binary(),
}


def output_schema(config: GenerateConfig, columns: Sequence[str]) -> pa.Schema:
    """What the published Parquet holds. `columns`: of the prompts that go in."""
    fields = [pa.field(name, pa.string()) for name in columns]
    if config.enhance is not None:
        fields += [pa.field(name, pa.string()) for name in ("enhanced_prompt", "llm", "llm_digest")]
    if config.draw is not None:
        fields += [pa.field(name, kind) for name, kind in _ADDED.items()]
    return pa.schema(fields)


class Encoder:
    """Completes a piece's rows."""

    def __init__(self, schema: pa.Schema, constants: Mapping[str, object]) -> None:
        self._schema, self._constants = schema, dict(constants)
        self._draws = "image" in schema.names

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        for name, value in self._constants.items():
            columns[name] = pa.array([value] * len(table), self._schema.field(name).type)
        if self._draws:
            pngs = [_png(row) for row in _pictures(table)]
            columns["image"] = pa.array(pngs, pa.binary())
            columns["sha256"] = pa.array([hashlib.sha256(png).hexdigest() for png in pngs])
            columns["file_name"] = pa.array([file_name(i) for i in table["id"].to_pylist()])
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)


def constants_of(
    config: GenerateConfig, llm: FoundModel | None, model: FoundModel | None
) -> dict[str, object]:
    """What is equal in all rows."""
    values: dict[str, object] = {}
    if llm is not None:
        values |= {"llm": llm.name, "llm_digest": llm.digest}
    if model is not None and config.draw is not None:
        values |= {
            "model": model.name,
            "model_digest": model.digest,
            "num_steps": config.draw.num_steps,
            "guidance_scale": config.draw.guidance_scale,
        }
    return values


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


def _pictures(table: pa.Table) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    columns = (table[name].to_pylist() for name in ("pixels", "height", "width"))
    for pixels, height, width in zip(*columns, strict=True):
        flat = np.frombuffer(pixels, np.uint8)
        grey = len(flat) == height * width
        yield flat.reshape((height, width) if grey else (height, width, -1))


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
