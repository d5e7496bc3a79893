"""How much `generate` gains by running its stages at the same time.

    python -m benchmarks.generate_overlap [--rounds 7] [--quick]

The stages are `generate`'s own (batches, seeds, PNGs, commits) around stand-in models that sleep
50 ms for every batch of 8. One arm is the pipeline as it is; the other runs enhancing to its end,
then drawing, as two jobs would. Each arm is timed from the first model call to the last, so the
start of Ray and of workers, which the second arm has twice, counts in neither. All on one local
Ray, interleaved (`interleaved.py`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from benchmarks.interleaved import Report, after_each_round, arguments
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.jobs.batch.job import open_batch
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.drawing.encode import encode_stage
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.generate.config import EnhanceConfig, GenerateConfig
from darkroom.jobs.generate.draw import requests_of
from darkroom.jobs.generate.enhance import Enhancer
from darkroom.jobs.generate.output import output_schema
from darkroom.jobs.rejects import Reject
from darkroom.jobs.session import ray_session

BATCH_SECONDS = 0.05
BATCH_SIZE = 8
PIECE_ROWS = 32
NUM_ROWS = 3072
AT_LEAST = 1.5
ENHANCE, DRAW = 0, 1


@dataclass(frozen=True)
class Clock:
    """Notes when models worked, in a file that all actors append to."""

    file: str

    def work(self, stage: int) -> None:
        """Sleep for one batch."""
        begin = time.monotonic()
        time.sleep(BATCH_SECONDS)
        with Path(self.file).open("a") as log:
            log.write(f"{stage} {begin} {time.monotonic()}\n")

    def seconds(self) -> float:
        """From the first begin to the last end."""
        times = self._times()
        return float(times.max() - times.min())

    def profile(self) -> dict[str, dict[str, float]]:
        """When each stage worked, in seconds from the first begin, and for how long of that."""
        stages, times = np.loadtxt(self.file, usecols=0), self._times() - self._times().min()
        return {
            name: {
                "from": float(times[stages == stage].min()),
                "to": float(times[stages == stage].max()),
                "worked": float(np.diff(times[stages == stage]).sum()),
            }
            for stage, name in ((ENHANCE, "enhance"), (DRAW, "draw"))
        }

    def _times(self) -> NDArray[np.float64]:
        times: NDArray[np.float64] = np.loadtxt(self.file, usecols=(1, 2))
        return times


@dataclass(frozen=True)
class SleepingWriter:
    """Stands in for a language model."""

    clock: Clock
    max_prompt_tokens: int = 100

    def num_tokens(self, prompt: str) -> int:
        return len(prompt.split())

    def answer(self, prompts: Sequence[str], _seeds: Sequence[int]) -> list[str]:
        self.clock.work(ENHANCE)
        return [prompt.upper() for prompt in prompts]


@dataclass(frozen=True)
class SleepingPainter:
    """Stands in for a text-to-image pipeline: 64x64 of noise that the seed decides."""

    clock: Clock

    def count_tokens(self, _text: str) -> None:
        return None

    def refusal(self, _request: Request) -> Reject | None:
        return None

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Reject]:
        self.clock.work(DRAW)
        return [
            Drawn(np.random.default_rng(item.seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))
            for item in requests
        ]


def make_enhancer(clock: Clock) -> Enhancer:
    stage = Enhancer.__new__(Enhancer)
    stage._config = build_config(EnhanceConfig, {"batch_size": BATCH_SIZE})  # noqa: SLF001
    stage._model, stage._seed = SleepingWriter(clock), 0  # noqa: SLF001
    return stage


def make_drawer(values: dict[str, Any], clock: Clock) -> DrawStage:
    requests = partial(requests_of, build_config(GenerateConfig, values))
    return DrawStage(partial(SleepingPainter, clock), requests, batch_size=BATCH_SIZE)


def overlapped(rows: pa.Table, folder: Path, profiles: list[object]) -> float:
    """Seconds of the pipeline as it is; adds its profile."""
    clock = Clock(str(folder / "clock"))
    _run(rows, folder / "out", clock, enhance=True, draw=True)
    profiles.append(clock.profile())
    return clock.seconds()


def stage_by_stage(rows: pa.Table, folder: Path) -> float:
    """Seconds of enhancing all, then drawing all."""
    first, second = Clock(str(folder / "clock-1")), Clock(str(folder / "clock-2"))
    enhanced = _run(rows, folder / "enhanced", first, enhance=True, draw=False)
    prompts = enhanced.select(["id", "enhanced_prompt"]).rename_columns(["id", "prompt"])
    _run(prompts, folder / "drawn", second, enhance=False, draw=True)
    return first.seconds() + second.seconds()


def _run(rows: pa.Table, output: Path, clock: Clock, *, enhance: bool, draw: bool) -> pa.Table:
    values: dict[str, Any] = {
        "input": "memory", "output": str(output), "piece_rows": PIECE_ROWS,
        "enhance": {"batch_size": BATCH_SIZE} if enhance else None,
        "draw": {"batch_size": BATCH_SIZE} if draw else None,
    }  # fmt: skip
    config = build_config(GenerateConfig, values)
    schema = output_schema(config, rows.column_names)
    stages = []
    if enhance:
        stages.append(_actor("enhance", partial(make_enhancer, clock)))
    if draw:
        stages.append(_actor("draw", partial(make_drawer, config.to_dict(), clock)))
    constants: dict[str, object] = {"llm": "-", "llm_digest": "-"} if enhance else {}
    if draw:
        constants |= {"model": "-", "model_digest": "-", "num_steps": 1, "guidance_scale": 0.0}
    stages.append(encode_stage(constants, model_digest="-"))
    with open_batch(config, kind="pictures", rows=rows, parents=[]) as batch:
        batch.run(stages, schema=schema, description="run", unit="rows")
        return pa.concat_tables(batch.tables())


def _actor(name: str, make: Any) -> Stage:
    return Stage(name=name, make=make, num_workers=1, actor=True, num_cpus=0.5)


def main() -> None:
    given = arguments(__doc__).parse_args()
    num_rows = NUM_ROWS // 8 if given.quick else NUM_ROWS
    rows = pa.table(
        {"id": [f"r{i:05d}" for i in range(num_rows)], "prompt": ["a red fox"] * num_rows}
    )
    profiles: list[object] = []
    report = Report("generate_overlap", details={"rows": num_rows, "piece_rows": PIECE_ROWS})
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as root, ray_session():
        arms = {
            "stage by stage": lambda: stage_by_stage(rows, Path(tempfile.mkdtemp(dir=root))),
            "overlapped": lambda: overlapped(rows, Path(tempfile.mkdtemp(dir=root)), profiles),
        }
        for timings in after_each_round(arms, num_rounds=given.rounds):
            report.details |= {"seconds": timings.seconds, "overlapped": profiles}
            ratio = timings.ratio("stage by stage", "overlapped")
            report.add("generate: stage by stage over overlapped", ratio, at_least=AT_LEAST)


if __name__ == "__main__":
    main()
