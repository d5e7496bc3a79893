"""Where the milliseconds of a step go: ours and the bare loop's under cProfile, by package.

    python -m benchmarks.train_profile CONFIG RESULT

CONFIG is a `TrainConfig` as JSON, of one worker. Runs `darkroom train` with a profiler in its
worker, then the bare loop with one, each on from step FIRST_STEP. RESULT gets what `profiles.py`
says of both, in milliseconds a step.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.bare_loop import Loop, load_rows
from benchmarks.profiles import summary

from darkroom.config import build_config
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.job import run
from darkroom.jobs.training import worker as train_worker_module
from darkroom.jobs.training.callback import RunCallback
from darkroom.storage import open_artifact

FIRST_STEP = 40

_train_worker = train_worker_module.train_worker


def profiled_worker(file: str, last_step: int) -> Callable[[Any], Any]:
    """Our worker with a profiler in its main thread, between two steps."""

    def worker(settings: Any) -> Any:
        profile, after_step = cProfile.Profile(), RunCallback.on_train_batch_end

        def switching(callback: RunCallback, trainer: Any, *others: Any) -> None:
            after_step(callback, trainer, *others)
            if trainer.global_step == FIRST_STEP:
                profile.enable()
            elif trainer.global_step == last_step:
                profile.disable()
                profile.dump_stats(file)

        RunCallback.on_train_batch_end = switching  # type: ignore[method-assign, assignment]
        return _train_worker(settings)

    return worker


class ProfiledLoop(Loop):
    """The bare loop; profiles the same steps."""

    def __init__(self, *args: Any, last_step: int, file: str, **named: Any) -> None:
        super().__init__(*args, **named)
        self._profile, self._last_step, self._file = cProfile.Profile(), last_step, file
        self._num_done = 0

    def _step(self) -> Any:
        result = super()._step()
        self._num_done += 1
        if self._num_done == FIRST_STEP:
            self._profile.enable()
        elif self._num_done == self._last_step:
            self._profile.disable()
            self._profile.dump_stats(self._file)
        return result


def main() -> None:
    config_file, result_file = map(Path, sys.argv[1:])
    config = build_config(TrainConfig, json.loads(config_file.read_text()))
    last_step = config.max_steps - 1
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        ours, bare = (str(Path(folder, name)) for name in ("ours", "bare"))
        profiled: Any = profiled_worker(ours, last_step)
        train_worker_module.train_worker = profiled
        run(config)
        torch.set_num_threads(config.compute.num_threads)
        torch.use_deterministic_algorithms(config.compute.deterministic)
        rows = load_rows(open_artifact(config.input, kind="dataset"))
        ProfiledLoop(config, rows, rank=0, world=1, last_step=last_step, file=bare).run()
        num_steps = last_step - FIRST_STEP
        files = {"ours": ours, "bare": bare}
        result = {side: summary(pstats.Stats(file), num_steps) for side, file in files.items()}
    result_file.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
