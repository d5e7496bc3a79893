"""A step of `darkroom finetune` over a step of the same training as diffusers' examples write it.

    python -m benchmarks.finetune [--rounds 7] [--quick]

A tiny Stable Diffusion learns photographs by one rank, by LoRA and in full. Both sides run in this
process (`workers.num_workers: 0`), so that neither has a Ray beside it: ours is the whole run, with
its stream, draws for each row, Lightning, norms of blocks, log, barrier and average; theirs is
`finetune_loop.py`. The same base, pictures, captions, batch, precision, AdamW, clipping, average,
deterministic kernels and one thread. Target: at most 1.05.

A step's time is what the published run's own log says (`images_per_second` of each interval), and
what the loop's clock says for the same intervals, after a warm-up. Validation and checkpoints lie
in no interval. Each turn is a run of its own.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.finetune_loop import Captioned, Loop
from benchmarks.interleaved import Report, after_each_round, arguments
from benchmarks.train import logged_seconds
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.tiny_families import save_tiny

from darkroom.config import build_config
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.finetune.job import run
from darkroom.storage import open_artifact

AT_MOST = 1.05
PIXELS, BATCH_SIZE = 32, 8
LOG_EVERY, WARM_UP_STEPS = 10, 20
MEASURED_STEPS, QUICK_STEPS = 80, 30
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {"method": "lora", "lora": {"rank": 4}},
    "full": {"method": "full"},
}


class Comparison:
    """The two sides of one method."""

    def __init__(self, root: Path, name: str, num_steps: int) -> None:
        self._root, self._name = root, name
        self._max_steps = WARM_UP_STEPS + num_steps
        self._numbers = itertools.count()
        self._rows = Captioned.of(open_artifact(str(root / "data")))

    def config(self) -> FinetuneConfig:
        """One run's."""
        values: dict[str, Any] = {
            "base": str(self._root / "base"), "input": str(self._root / "data"),
            "output": str(self._root / f"{self._name}-{next(self._numbers)}"),
            "batch_size": BATCH_SIZE, "max_steps": self._max_steps, "log_every_steps": LOG_EVERY,
            "objective": {"caption_dropout": 0.0}, "lr_schedule": {"warmup_steps": WARM_UP_STEPS},
            "validation": {"every_steps": self._max_steps, "num_images": BATCH_SIZE},
            "checkpoint": {"every_steps": None}, "workers": {"num_workers": 0},
            **METHODS[self._name],
        }  # fmt: skip
        return build_config(FinetuneConfig, values)

    def darkroom(self) -> float:
        """Seconds of our step."""
        config = self.config()
        run(config)
        log = open_artifact(config.output).read_table("metrics.parquet")
        return steady(logged_seconds(log["images_per_second"].to_pylist(), BATCH_SIZE))

    def plain(self) -> float:
        """Seconds of the plain loop's step."""
        torch.use_deterministic_algorithms(mode=True)
        try:
            return steady(Loop(self.config(), self._rows).run()["seconds"])
        finally:
            torch.use_deterministic_algorithms(mode=False)


def steady(interval_seconds: list[float]) -> float:
    """Seconds of a step: the mean of the intervals after the warm-up."""
    return statistics.fmean(interval_seconds[WARM_UP_STEPS // LOG_EVERY :])


def main() -> None:
    given = arguments(__doc__).parse_args()
    steps = QUICK_STEPS if given.quick else MEASURED_STEPS
    torch.set_num_threads(1)
    report = Report("finetune", details={"steps": steps, "pixels": PIXELS, "batch": BATCH_SIZE})
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        root = Path(name)
        save_tiny("sd", root / "base")
        publish_captioned(root / "data", side=PIXELS, num_each=32)
        for method in METHODS:
            sides = Comparison(root, method, steps)
            arms = {"plain": sides.plain, "darkroom": sides.darkroom}
            what = f"finetune: {method}, step / step of a plain diffusers loop"
            for timings in after_each_round(arms, num_rounds=given.rounds):
                report.details[method] = {"step_seconds": timings.seconds}
                report.add(what, timings.ratio("darkroom", "plain"), at_most=AT_MOST)


if __name__ == "__main__":
    main()
