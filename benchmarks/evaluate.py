"""`darkroom evaluate` against a bare loop of its extractor.

    python -m benchmarks.evaluate [--rounds 7] [--quick]

A ResNet-50 of timm (random weights, 224 px) sees the same photographs in both arms: in a plain loop
over pixels that lie in memory, and in `evaluate`, which lists, reads, decodes and commits as well.
As many threads in both. `evaluate` is timed from its first commit to its last: its start (actors,
weights) scatters by as much as a small evaluation takes. The whole call stands in the details.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch
from benchmarks.commit_times import seconds_between_commits
from benchmarks.interleaved import Report, after_each_round, arguments
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.feature_networks import photograph_crops, save_timm

from darkroom.config import build_config
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.evaluate.job import run
from darkroom.jobs.measuring.networks import find_networks
from darkroom.jobs.session import ray_session

NETWORK, SIDE, BATCH = "resnet50", 224, 8
NUM_REFERENCE = 8
_numbers = count(1)


def folder_of(folder: Path, images: NDArray[np.uint8]) -> Path:
    """Pictures (N, 3, H, W) as JPEG files."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        data = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(data, "JPEG", quality=92)
        (folder / f"{index:05d}.jpg").write_bytes(data.getvalue())
    return folder


def config_of(root: Path, pictures: Path, weights: Path) -> EvaluateConfig:
    """An evaluation into an output that no other one has."""
    values = {
        "input": str(pictures), "reference": str(root / "reference"),
        "output": str(root / f"out-{next(_numbers)}"), "metrics": ["kernel_timm"],
        "networks": {
            "timm": {"name": NETWORK, "weights": str(weights)}, "batch_size": BATCH,
        },
        "extractors": {"num_cpus": os.cpu_count() or 1}, "piece_rows": BATCH,
    }  # fmt: skip
    return build_config(EvaluateConfig, values)


def bare_loop(config: EvaluateConfig, images: NDArray[np.uint8]) -> Callable[[], float]:
    """Seconds that the extractor takes for a batch: the mean over all pictures."""
    (network,) = find_networks(config, ("timm",))
    extract = network.load(config.extractors)
    torch.set_num_threads(os.cpu_count() or 1)

    def loop() -> float:
        started = time.perf_counter()
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            extract(batch, [None] * len(batch))
        return (time.perf_counter() - started) * BATCH / len(images)

    return loop


def seconds_per_batch(config: EvaluateConfig) -> float:
    """Of `evaluate`, between the first commit and the last: a piece is a batch."""
    return seconds_between_commits(lambda: run(config), config.output)


def main() -> None:
    options = arguments(__doc__).parse_args()
    num_pictures = 48 if options.quick else 136
    report = Report("evaluate")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, ray_session(num_cpus=6):
        root = Path(folder)
        weights = save_timm(root / "timm.pth", NETWORK)
        images = photograph_crops(num_pictures, 0, SIDE)
        folder_of(root / "reference", photograph_crops(NUM_REFERENCE, 1, SIDE))
        pictures = folder_of(root / "input", images)
        whole: list[float] = []

        def evaluate() -> float:
            started = time.perf_counter()
            per_batch = seconds_per_batch(config_of(root, pictures, weights))
            whole.append(time.perf_counter() - started)
            return per_batch

        loop = bare_loop(config_of(root, pictures, weights), images)
        arms = {"loop": loop, "evaluate": evaluate}
        report.details["pictures"] = {"input": num_pictures, "reference": NUM_REFERENCE}
        for timings in after_each_round(arms, num_rounds=options.rounds):
            report.details |= {"seconds_per_batch": timings.seconds, "whole_seconds": whole}
            report.add(
                "ResNet-50: rate of evaluate / of its extractor alone",
                timings.ratio("loop", "evaluate"), at_least=0.9,
            )  # fmt: skip


if __name__ == "__main__":
    main()
