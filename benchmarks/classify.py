"""`darkroom classify` against its model's ceiling, the naive pipeline, and itself without a ledger.

    python -m benchmarks.classify [--rounds 7] [--quick]

1. ResNet-152 at 224 px, random weights: the model's own share of the time (pictures a second of
   the pipeline from its first piece to its last, over a bare loop on preloaded uint8 pixels with
   as many threads).
2. A small model on many photographs: the whole job against the naive pipeline's whole job.
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
from typing import Any

import numpy as np
from benchmarks.interleaved import Ratio, Report, arguments, measure
from benchmarks.naive_classify import run_naive
from benchmarks.photographs import LONG_SIDE, photographs

from darkroom.classifiers.names import describe_classifier
from darkroom.classifiers.weights import find_weights, load_classifier
from darkroom.config import build_config
from darkroom.jobs.batch.ledger import Ledger, Record
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run
from darkroom.jobs.classify.model import Predictor
from darkroom.jobs.session import ray_session
from darkroom.storage import open_artifact, open_store
from darkroom.storage.failpoint import ENVIRONMENT_VARIABLE

SMALL = {"library": "timm", "name": "mobilenetv3_small_050", "weights": "random"}
LARGE = {"library": "torchvision", "name": "resnet152", "weights": "random"}


class Job:
    """Runs of `classify` into fresh outputs."""

    def __init__(self, root: Path, pictures: Path, **settings: Any) -> None:
        self._root, self._pictures, self._settings = root, pictures, settings
        self._count = 0

    def config(self) -> ClassifyConfig:
        self._count += 1
        output = self._root / f"out-{id(self)}-{self._count}"
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


def model_dominates(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 1: at least 0.90 of the ceiling."""
    threads = os.cpu_count() or 1
    piece_rows = 8
    folder = photographs(root / "large", count)
    job = Job(
        root, folder, model=LARGE, piece_rows=piece_rows, batch_size=piece_rows,
        workers={"num_decoders": 1, "num_threads": threads},
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

    timings = measure(
        {"ceiling": ceiling, "classify": job.seconds_per_piece}, num_rounds=num_rounds
    )
    report.details["model_dominates"] = {"seconds_per_piece": timings.seconds, "pictures": count}
    report.add(
        "ResNet-152: rate of classify / of the model alone",
        timings.ratio("ceiling", "classify"), at_least=0.90,
    )  # fmt: skip


def decoding_dominates(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 2: at least 1.5 times the naive pipeline."""
    folder = photographs(root / "small", count)
    classifier = describe_classifier("timm", SMALL["name"])
    weights = find_weights(classifier, "random", seed=0)
    job = Job(
        root, folder, model=SMALL, piece_rows=64, batch_size=32,
        workers={"num_decoders": 2, "num_threads": 1},
    )  # fmt: skip
    outputs = iter(range(10**6))

    def naive() -> None:
        output = root / f"naive-{next(outputs)}"
        run_naive(str(folder), str(output), classifier, weights, batch_size=32, num_threads=1)
        shutil.rmtree(output)

    timings = measure({"naive": naive, "classify": job}, num_rounds=num_rounds)
    report.details["decoding_dominates"] = {"seconds": timings.seconds, "pictures": count}
    report.add(
        "small model: rate of classify / of the naive pipeline",
        timings.ratio("naive", "classify"), at_least=1.5,
    )  # fmt: skip


SMALL_SETTINGS: dict[str, Any] = {
    "model": SMALL,
    "piece_rows": 64,
    "batch_size": 32,
    "workers": {"num_decoders": 2, "num_threads": 1},
}


class PlainLedger(Ledger):
    """Writes a piece's files, and commits nothing: what exactly-once is measured against."""

    def commit(self, record: Record, contents: Any) -> Record:
        for name, data, rows in contents:
            self.writer.write_bytes(name, data, rows=rows)
        return record


def exactly_once(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 3: at most 1.05 of plain writing."""
    from darkroom.jobs.batch import job as batch_job

    folder = root / "small"
    job = Job(root, folder, **SMALL_SETTINGS)

    def plain() -> float:
        config = job.config()
        started = time.perf_counter()
        _run_without_ledger(config, batch_job)
        return time.perf_counter() - started

    def ours() -> float:
        config = job.config()
        started = time.perf_counter()
        _run_to_the_ledger(config, batch_job)
        return time.perf_counter() - started

    timings = measure({"plain": plain, "exactly once": ours}, num_rounds=num_rounds)
    report.details["exactly_once"] = {"seconds": timings.seconds, "pictures": count}
    report.add(
        "exactly once: time / plain writing's time",
        timings.ratio("exactly once", "plain"), at_most=1.05,
    )  # fmt: skip


def _run_without_ledger(config: ClassifyConfig, batch_job: Any) -> None:
    before = batch_job.Ledger
    batch_job.Ledger = PlainLedger
    try:
        _run_to_the_ledger(config, batch_job)
    finally:
        batch_job.Ledger = before


def _run_to_the_ledger(config: ClassifyConfig, batch_job: Any) -> None:
    from darkroom.jobs.classify.job import KIND
    from darkroom.jobs.classify.model import OUTPUT_SCHEMA, modelling
    from darkroom.jobs.classify.source import find_pictures
    from darkroom.jobs.classify.stages import reading_and_decoding

    classifier = describe_classifier(config.model.library, config.model.name)
    weights = find_weights(classifier, config.model.weights, seed=config.seed)
    pictures = find_pictures(config)
    with batch_job.open_batch(
        config, kind=KIND, rows=pictures.rows, parents=[pictures.parent]
    ) as batch:
        stages = [
            *reading_and_decoding(config, classifier.preprocess),
            modelling(config, classifier, weights),
        ]
        batch.run(stages, schema=OUTPUT_SCHEMA, description="classify", unit="pictures")


def resumed(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 4: at most 1.3 of the remaining share of a whole run, start-up left out."""
    folder = root / "small"
    job = Job(root, folder, **SMALL_SETTINGS)
    start_up = Job(root, photographs(root / "one", 1), **SMALL_SETTINGS)
    share = 0.5

    def whole() -> float:
        return _seconds(job.config())

    def nothing() -> float:
        """One picture: what is left is start-up."""
        return _seconds(start_up.config())

    def rest() -> float:
        config = job.config()
        run(config)
        _forget(config, share)
        return _seconds(config)

    timings = measure({"start-up": nothing, "whole": whole, "rest": rest}, num_rounds=num_rounds)
    ratios = [
        (rest_s - start_s) / max(share * (whole_s - start_s), 1e-9)
        for start_s, whole_s, rest_s in zip(
            timings.seconds["start-up"], timings.seconds["whole"], timings.seconds["rest"],
            strict=True,
        )
    ]  # fmt: skip
    report.details["resumed"] = {"seconds": timings.seconds, "pictures": count, "share": share}
    report.add("resumed: time / ideal, beyond start-up", Ratio.of(ratios), at_most=1.3)


def _seconds(config: ClassifyConfig) -> float:
    started = time.perf_counter()
    run(config)
    return time.perf_counter() - started


def _forget(config: ClassifyConfig, share: float) -> None:
    """Bring a published output back to where a kill would have left it: a part of its ledger."""
    store = open_store(config.output)
    artifact = open_artifact(config.output)
    from darkroom.jobs.batch.piece import cut
    from darkroom.jobs.classify.source import find_pictures
    from darkroom.storage import PartWriter

    pieces = cut(find_pictures(config).rows, config.piece_rows)
    ledger = Ledger(PartWriter(artifact.uri, artifact.manifest.attempt))
    entries = artifact.entries("data/")
    for piece, entry in list(zip(pieces, entries, strict=True))[: int(len(pieces) * (1 - share))]:
        record = Record(piece.index, piece.ids_digest, len(piece.table), (entry,), ())
        store.put(ledger.key(piece.index), record.to_json())
    store.delete(["manifest.json"])


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
    print(report.write())


if __name__ == "__main__":
    main()
