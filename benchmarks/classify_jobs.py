"""Runs of `classify` that the benchmarks time."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from darkroom.config import build_config
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run
from darkroom.storage import open_artifact, open_store

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
        run(config)
        artifact = open_artifact(config.output)
        times = sorted(
            info.modified.timestamp()
            for info in open_store(config.output).list("attempts/")
            if "/data/" in info.key
        )
        return (times[-1] - times[0]) / (len(artifact.entries("data/")) - 1)
