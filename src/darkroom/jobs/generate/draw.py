"""The stage that draws: adds the seed and the picture's pixels, as uint8.

Rows whose request the model cannot serve, and pictures that hold no numbers, are rejected. When
a whole batch raises, its rows are drawn one by one, so that one of them cannot take the others
along; a fault of the data is the same each time, and so are the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from darkroom.config import build_config
from darkroom.errors import DarkroomError
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.generate.config import ClassConditionalConfig, GenerateConfig, fill
from darkroom.jobs.generate.drawer import Fault, Pixels, Request, load_drawer
from darkroom.jobs.generate.seeding import row_seed
from darkroom.jobs.rejects import Rejects
from darkroom.models.find import FoundModel

PURPOSE = "draw"

DRAWN = {
    "num_tokens": pa.int32(),
    "num_tokens_cut": pa.int32(),
    "seed": pa.int64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "pixels": pa.binary(),
}
"""Columns that the stage adds."""


class DrawStage:
    """The stage's function, holding the model."""

    def __init__(self, config: Mapping[str, Any], *, folder: FoundModel) -> None:
        self._config = build_config(GenerateConfig, config)
        if self._config.draw is None:
            raise DarkroomError("the draw stage was built without its settings")
        self._drawer = load_drawer(self._config.draw, folder)

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        ids: list[str] = table["id"].to_pylist()
        requests = self._requests(table)
        faults = [self._drawer.fault(request) for request in requests]
        sound = [row for row, fault in enumerate(faults) if fault is None]
        for row, fault in enumerate(faults):
            if fault is not None:
                rejects.add(ids[row], fault.reason, fault.detail)
        kept: list[int] = []
        made: list[dict[str, Any]] = []
        for start in range(0, len(sound), self._drawer.batch_size):
            rows = sound[start : start + self._drawer.batch_size]
            for row, drawn in self._draw(rows, ids, requests, rejects):
                if isinstance(drawn, Fault):
                    rejects.add(ids[row], drawn.reason, drawn.detail)
                else:
                    kept.append(row)
                    made.append(self._values(requests[row], drawn))
        result = table.take(pa.array(kept, pa.int64()))
        for name, kind in DRAWN.items():
            column = pa.array([values[name] for values in made], kind)
            result = result.append_column(pa.field(name, kind), column)
        return result

    def _requests(self, table: pa.Table) -> list[Request]:
        draw, seed = self._config.draw, self._config.seed
        if isinstance(draw, ClassConditionalConfig):
            rows = table.to_pylist()
            texts = [
                fill(draw.class_template, {name: value or "" for name, value in row.items()})
                for row in rows
            ]
        else:
            enhanced = "enhanced_prompt" in table.column_names
            texts = table["enhanced_prompt" if enhanced else "prompt"].to_pylist()
        return [
            Request(text, row_seed(seed, PURPOSE, row_id))
            for text, row_id in zip(texts, table["id"].to_pylist(), strict=True)
        ]

    def _draw(
        self, rows: Sequence[int], ids: Sequence[str], requests: Sequence[Request],
        rejects: Rejects,
    ) -> Iterator[tuple[int, Pixels | Fault]]:  # fmt: skip
        try:
            yield from zip(rows, self._drawer.draw([requests[row] for row in rows]), strict=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise  # not the row's fault: the core decides
            if len(rows) == 1:
                rejects.add_error(ids[rows[0]], "failed", error)
                return
            for row in rows:
                yield from self._draw([row], ids, requests, rejects)

    def _values(self, request: Request, pixels: Pixels) -> dict[str, Any]:
        tokens = self._drawer.count_tokens(request.text) or (None, None)
        return {
            "num_tokens": tokens[0],
            "num_tokens_cut": tokens[1],
            "seed": request.seed,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "pixels": pixels.tobytes(),
        }
