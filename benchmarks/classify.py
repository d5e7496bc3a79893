"""`darkroom classify` against its model's ceiling, the naive pipeline, and itself without commits.

    python -m benchmarks.classify [--rounds 7] [--quick]

1. ResNet-152 at 224 px, random weights: the model's own share of the time (pictures a second of
   the pipeline from its first piece to its last, over a bare loop on preloaded uint8 pixels with
   as many threads).
2. A small model on many photographs, against the naive pipeline: what a job on one picture takes is
   taken off both (a second line leaves it in).
3. Exactly-once against plain writing: the same stages with a last one that only writes.
4. A resumed run against the ideal, the remaining share of a whole run, both without start-up.

All on one local Ray, interleaved (`interleaved.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.classify_commits import exactly_once, resumed
from benchmarks.classify_jobs import LARGE, SMALL, SMALL_SETTINGS, Job
from benchmarks.interleaved import Arm, Report, after_each_round, arguments
from benchmarks.naive_classify import run_naive
from benchmarks.photographs import LONG_SIDE, photographs

from darkroom.jobs.classify.model import Predictor
from darkroom.jobs.session import ray_session
from darkroom.models.classifier import describe_classifier
from darkroom.models.weights import find_weights, load_classifier
from darkroom.storage.failpoint import ENVIRONMENT_VARIABLE


def model_dominates(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 1: at least 0.90 of the ceiling."""
    threads = os.cpu_count() or 1
    piece_rows = 8
    folder = photographs(root / "large", count)
    job = Job(
        root, folder, model=LARGE, piece_rows=piece_rows, batch_size=piece_rows,
        decoders={"num_workers": 1},
        models={"num_threads": threads},
    )  # fmt: skip
    classifier = describe_classifier("torchvision", "resnet152")
    weights = find_weights(classifier, "random", seed=0)
    import torch

    torch.set_num_threads(threads)
    predictor = Predictor(
        load_classifier(classifier, weights), classifier, device=torch.device("cpu"),
        batch_size=piece_rows, top_k=5,
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (piece_rows, 224, 224, 3), np.uint8)

    def ceiling() -> float:
        started = time.perf_counter()
        for _ in range(count // piece_rows):
            predictor.predict(pixels)
        return (time.perf_counter() - started) / (count // piece_rows)

    arms = {"ceiling": ceiling, "classify": job.seconds_per_piece}
    for timings in after_each_round(arms, num_rounds=num_rounds):
        found = {"seconds_per_piece": timings.seconds, "pictures": count}
        report.details["model_dominates"] = found
        report.add(
            "ResNet-152: rate of classify / of the model alone",
            timings.ratio("ceiling", "classify"), at_least=0.90,
        )  # fmt: skip


def decoding_dominates(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 2: at least 1.5 times the naive pipeline, what one picture takes left out."""
    folder, one = photographs(root / "small", count), photographs(root / "one", 1)
    classifier = describe_classifier("timm", SMALL["name"])
    weights = find_weights(classifier, "random", seed=0)
    outputs = iter(range(10**6))

    def naive(pictures: Path) -> None:
        output = root / f"naive-{next(outputs)}"
        run_naive(str(pictures), str(output), classifier, weights, batch_size=32, num_threads=1)
        shutil.rmtree(output)

    arms: dict[str, Arm] = {
        "naive": lambda: naive(folder),
        "classify": Job(root, folder, **SMALL_SETTINGS),
        "naive, one picture": lambda: naive(one),
        "classify, one picture": Job(root, one, **SMALL_SETTINGS),
    }
    for timings in after_each_round(arms, num_rounds=num_rounds):
        report.details["decoding_dominates"] = {"seconds": timings.seconds, "pictures": count}
        work = timings.beyond(naive="naive, one picture", classify="classify, one picture")
        report.add(
            "small model: rate of classify / of the naive pipeline",
            work.ratio("naive", "classify"), at_least=1.5,
        )  # fmt: skip
        report.add("the same, each job's start-up left in", timings.ratio("naive", "classify"))


def object_store_bytes(root: Path, report: Report) -> None:
    """Peak bytes of the object store per picture: ours and the naive pipeline's, from their parts.

    Counted by arithmetic on what crosses between stages, since Ray's own peak depends on timing.
    """
    sizes = [path.stat().st_size for path in sorted((root / "small").iterdir())]
    encoded_bytes = float(np.mean(sizes))
    report.details["bytes_per_picture_between_stages"] = {
        "classify": {"read to decode": encoded_bytes, "decode to model": 224 * 224 * 3},
        "naive": {
            "read to map": LONG_SIDE * 480 * 3,
            "map to model": LONG_SIDE * 480 * 3 + 224 * 224 * 3 * 4,
            "model to write": LONG_SIDE * 480 * 3,
        },
    }


def num_pictures(*, quick: bool) -> Iterator[tuple[str, int]]:
    """Of each comparison."""
    yield "large", 24 if quick else 64
    yield "small", 200 if quick else 1000


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["large", "small", "once", "resume"], action="append")
    options = parser.parse_args()
    os.environ.pop(ENVIRONMENT_VARIABLE, None)
    counts = dict(num_pictures(quick=options.quick))
    wanted = options.only or ["large", "small", "once", "resume"]
    report = Report("classify")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, ray_session(num_cpus=6):
        root = Path(folder)
        if "large" in wanted:
            model_dominates(root, report, num_rounds=options.rounds, count=counts["large"])
        if "small" in wanted:
            decoding_dominates(root, report, num_rounds=options.rounds, count=counts["small"])
            object_store_bytes(root, report)
        if not (root / "small").is_dir():
            photographs(root / "small", counts["small"])
        if "once" in wanted:
            exactly_once(root, report, num_rounds=options.rounds, count=counts["small"])
        if "resume" in wanted:
            resumed(root, report, num_rounds=options.rounds, count=counts["small"])
    report.write()


if __name__ == "__main__":
    main()
