"""The stage that draws: rows in, the same rows with seeds and pixels out.

Requests that the model cannot serve, and pictures that hold no numbers, are rejected. When a
whole batch raises, its rows are drawn one by one, so that one of them cannot take the others
along; a fault of the data is the same each time, and so are the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from darkroom.errors import DarkroomError
from darkroom.jobs.batch.stage import Stage, StageFunction, is_out_of_memory
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.drawing.drawer import STAGE, Drawer, Drawn, Request
from darkroom.jobs.drawing.picture_bytes import prompt_digest
from darkroom.jobs.rejects import Reject, Rejects

DRAWN_SCHEMA = pa.schema(
    [
        ("num_tokens", pa.int32()),
        ("num_tokens_cut", pa.int32()),
        ("seed", pa.uint64()),
        ("prompt_digest", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("pixels", pa.binary()),
        ("frames", pa.list_(pa.binary())),
    ]
)
"""Columns that the stage adds. Frames are as large as the picture."""


def model_stage(name: str, config: WorkerConfig, make: Callable[[], StageFunction]) -> Stage:
    """A stage of actors that each hold a model."""
    return Stage.of(config, name=name, make=make, actor=True)


class DrawStage:
    """The stage's function, holding the drawer."""

    def __init__(
        self,
        load: Callable[[], Drawer],
        requests_of: Callable[[pa.Table], list[Request]],
        *,
        batch_size: int,
    ) -> None:
        self._load, self._requests_of, self._batch_size = load, requests_of, batch_size

    @cached_property
    def _drawer(self) -> Drawer:
        # With the first piece: what a task raises reaches the driver as it is, where an error
        # while an actor starts is tried again and then told as the actor's death.
        try:
            return self._load()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DarkroomError(
                "the model does not fit into a worker's memory: use fewer workers, a larger share "
                f"of the GPU or a smaller model ({str(error).splitlines()[0][:200]})"
            ) from error

    def __call__(self, table: pa.Table, rejects: Rejects) -> pa.Table:
        requests = self._requests_of(table)
        refusals = [self._drawer.refusal(request) for request in requests]
        rejects.found += [refusal for refusal in refusals if refusal is not None]
        sound = [row for row, refusal in enumerate(refusals) if refusal is None]
        kept: list[int] = []
        made: list[dict[str, Any]] = []
        for start in range(0, len(sound), self._batch_size):
            rows = sound[start : start + self._batch_size]
            drawn = self._draw([requests[row] for row in rows], rejects)
            for row, one in zip(rows, drawn, strict=True):
                if isinstance(one, Drawn):
                    kept.append(row)
                    made.append(self._values(requests[row], one))
                else:
                    rejects.found.append(one)
        result = table.take(pa.array(kept, pa.int64()))
        columns = pa.Table.from_pylist(made, schema=DRAWN_SCHEMA)
        for field in DRAWN_SCHEMA:
            result = result.append_column(field, columns[field.name])
        return result

    def _draw(self, requests: Sequence[Request], rejects: Rejects) -> Iterator[Drawn | Reject]:
        try:
            yield from self._drawer.draw(requests)
        except Exception as error:
            if is_out_of_memory(error) or isinstance(error, DarkroomError):
                raise  # not the row's fault: the core decides
            if len(requests) > 1:
                for request in requests:
                    yield from self._draw([request], rejects)
                return
            alone = Rejects(STAGE)
            alone.add_error(requests[0].id, "failed", error)
            yield from alone.found

    def _values(self, request: Request, drawn: Drawn) -> dict[str, Any]:
        tokens = self._drawer.count_tokens(request.text or "") or (None, None)
        return {
            "num_tokens": tokens[0],
            "num_tokens_cut": tokens[1],
            "seed": request.seed,
            "prompt_digest": prompt_digest(request.text),
            "width": drawn.pixels.shape[1],
            "height": drawn.pixels.shape[0],
            "pixels": drawn.pixels.tobytes(),
            "frames": [frame.tobytes() for frame in drawn.frames],
        }
