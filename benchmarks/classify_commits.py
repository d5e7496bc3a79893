"""What exactly-once costs `classify`: against plain writing, and with half of it done already."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.classify_jobs import SMALL_SETTINGS, Job
from benchmarks.interleaved import Report, after_each_round
from benchmarks.photographs import photographs

from darkroom.jobs.batch.commits import Commit, CommitLog, PieceFile
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.job import run
from darkroom.models.classifier import describe_classifier
from darkroom.models.weights import find_weights
from darkroom.storage import open_artifact, open_store


class PlainLog(CommitLog):
    """Writes a piece's files, and commits nothing: what exactly-once is measured against."""

    def commit(self, commit: Commit, files: Sequence[PieceFile]) -> Commit:
        for file in files:
            assert isinstance(file.data, bytes)
            self.writer.write_bytes(file.name, file.data, rows=file.rows)
        return commit


def exactly_once(root: Path, report: Report, *, num_rounds: int, count: int) -> None:
    """Target 3: at most 1.05 of plain writing."""
    from darkroom.jobs.batch import job as batch_job

    folder = root / "small"
    job = Job(root, folder, **SMALL_SETTINGS)

    def plain() -> float:
        config = job.config()
        started = time.perf_counter()
        _run_without_commits(config, batch_job)
        return time.perf_counter() - started

    def ours() -> float:
        config = job.config()
        started = time.perf_counter()
        _run_to_the_commits(config, batch_job)
        return time.perf_counter() - started

    arms = {"plain": plain, "exactly once": ours}
    for timings in after_each_round(arms, num_rounds=num_rounds):
        report.details["exactly_once"] = {"seconds": timings.seconds, "pictures": count}
        report.add(
            "exactly once: time / plain writing's time",
            timings.ratio("exactly once", "plain"), at_most=1.05,
        )  # fmt: skip


def _run_without_commits(config: ClassifyConfig, batch_job: Any) -> None:
    before = batch_job.CommitLog
    batch_job.CommitLog = PlainLog
    try:
        _run_to_the_commits(config, batch_job)
    finally:
        batch_job.CommitLog = before


def _run_to_the_commits(config: ClassifyConfig, batch_job: Any) -> None:
    from darkroom.jobs.artifacts import Kind
    from darkroom.jobs.classify.model import OUTPUT_SCHEMA, modelling
    from darkroom.jobs.classify.source import find_pictures
    from darkroom.jobs.classify.stages import reading_and_decoding

    classifier = describe_classifier(config.model.library, config.model.name)
    weights = find_weights(classifier, config.model.weights, seed=config.seed)
    pictures = find_pictures(config)
    with batch_job.open_batch(
        config, kind=Kind.PREDICTIONS, rows=pictures.rows, parents=[pictures.parent]
    ) as batch:
        stages = [
            *reading_and_decoding(config, pictures.origin, classifier.preprocess),
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

    arms = {"start-up": nothing, "whole": whole, "rest": rest}
    for timings in after_each_round(arms, num_rounds=num_rounds):
        work = timings.beyond(whole="start-up", rest="start-up")
        ratio = work.scaled("whole", [share] * len(work.seconds["whole"])).ratio("rest", "whole")
        report.details["resumed"] = {"seconds": timings.seconds, "pictures": count, "share": share}
        report.add("resumed: time / ideal, beyond start-up", ratio, at_most=1.3)


def _seconds(config: ClassifyConfig) -> float:
    started = time.perf_counter()
    run(config)
    return time.perf_counter() - started


def _forget(config: ClassifyConfig, share: float) -> None:
    """Bring a published output back to where a kill would have left it: some commits."""
    store = open_store(config.output)
    artifact = open_artifact(config.output)
    from darkroom.jobs.batch.piece import cut, even_lengths
    from darkroom.jobs.classify.source import find_pictures
    from darkroom.storage import PartWriter

    rows = find_pictures(config).rows
    pieces = cut(rows, even_lengths(len(rows), config.piece_rows))
    log = CommitLog(PartWriter(artifact.uri, artifact.manifest.attempt))
    entries = artifact.entries("data/")
    for piece, entry in list(zip(pieces, entries, strict=True))[: int(len(pieces) * (1 - share))]:
        commit = Commit(piece.index, piece.ids_digest, piece.num_rows, (entry,), ())
        store.put(log.key(piece.index), commit.to_json())
    store.delete(["manifest.json"])
