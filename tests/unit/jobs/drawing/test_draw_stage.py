"""The drawing stage around drawers that fail: no row takes another along, no fault is swallowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch

from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.drawing.drawer import Drawn, Request, not_finite, refused
from darkroom.jobs.drawing.encode import Encoder
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.rejects import Reject, Rejects

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


class Moody:
    """Fails on the prompts that it is told to, alone or beside others."""

    def __init__(self, **faults: Exception | str) -> None:
        self._faults = faults

    def count_tokens(self, _text: str) -> None:
        return None

    def refusal(self, request: Request) -> Reject | None:
        fault = self._faults.get(request.text or "")
        return refused(request, "no", "never") if fault == "refused" else None

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Reject]:
        drawn: list[Drawn | Reject] = []
        for request in requests:
            fault = self._faults.get(request.text or "")
            if isinstance(fault, Exception):
                raise fault
            frames = [PIXELS] * len(request.frames_after)
            drawn.append(not_finite(request) if fault else Drawn(PIXELS, frames))
        return drawn


def requests_of(table: pa.Table) -> list[Request]:
    return [Request(text, text, 2**64 - 1, (0, 1)) for text in table["id"].to_pylist()]


def run(rejects: Rejects, **faults: Exception | str) -> pa.Table:
    stage = DrawStage(lambda: Moody(**faults), requests_of, batch_size=3)
    return stage(pa.table({"id": ["a", "b", "c", "d", "e"]}), rejects)


def test_one_row_cannot_take_its_batch_along() -> None:
    rejects = Rejects("draw")
    result = run(rejects, a="refused", b=ValueError("no b"), d="not finite")
    assert result["id"].to_pylist() == ["c", "e"]
    found = [(reject.id, reject.stage, reject.reason) for reject in rejects.found]
    assert found == [
        ("a", "draw", "no"), ("b", "draw", "failed"), ("d", "draw", "not_finite")
    ]  # fmt: skip
    assert rejects.found[1].traceback


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("CUDA"), ConfigError("a", 1, "is b")])
def test_what_is_not_the_rows_fault_is_raised(fault: Exception) -> None:
    with pytest.raises(type(fault)):
        run(Rejects("draw"), b=fault)


def test_a_model_that_does_not_fit_is_one_line() -> None:
    def load() -> Moody:
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    stage = DrawStage(load, requests_of, batch_size=3)
    with pytest.raises(DarkroomError, match="does not fit into a worker's memory") as caught:
        stage(pa.table({"id": ["a"]}), Rejects("draw"))
    assert "\n" not in str(caught.value)


def test_pixels_and_frames_become_pngs() -> None:
    drawn = run(Rejects("draw"))
    assert drawn["seed"].to_pylist() == [2**64 - 1] * 5
    row = Encoder({"sampler": "ddim"}, model_digest="d1")(drawn, Rejects("encode")).to_pylist()[0]
    assert row["sampler"] == "ddim"
    assert row["file_name"] == "images/a.png"
    assert row["image"] == row["frames"][0] == row["frames"][1]
    assert row["image"].startswith(b"\x89PNG")
    assert "pixels" not in row
