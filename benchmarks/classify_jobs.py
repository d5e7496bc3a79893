"""Runs of `classify` that the benchmarks time."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.commit_times import seconds_between_commits

from darkroom.config import build_config
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run

SMALL = {"library": "timm", "name": "mobilenetv3_small_050", "weights": "random"}
LARGE = {"library": "torchvision", "name": "resnet152", "weights": "random"}

SMALL_SETTINGS: dict[str, Any] = {
    "model": SMALL,
    "piece_rows": 64,
    "batch_size": 32,
    "models": {"num_threads": 1},
}


_numbers = count(1)


class Job:
    """Runs of `classify`, each into an output that no other one of this process has."""

    def __init__(self, root: Path, pictures: Path, **settings: Any) -> None:
        self._root, self._pictures, self._settings = root, pictures, settings

    def config(self) -> ClassifyConfig:
        output = self._root / f"out-{next(_numbers)}"
        values = {"input": str(self._pictures), "output": str(output), **self._settings}
        return build_config(ClassifyConfig, values)

    def __call__(self) -> None:
        run(self.config())

    def seconds_per_piece(self) -> float:
        """Between commits: the pipeline once it runs, without its start and its end."""
        config = self.config()
        return seconds_between_commits(lambda: run(config), config.output)
