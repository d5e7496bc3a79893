"""Pictures a second of `darkroom prepare` over those of merely decoding them.

    python -m benchmarks.prepare [--rounds 7] [--quick]

The job reads a folder of JPEGs of 640 x 480, decodes and checks each, keeps its bytes (no other
size is asked for, so nothing is encoded again), and publishes Parquet. The decode-only loop reads
the same files and decodes them to RGB by the same library, in as many processes as there are
cores, and nothing else: no checks, no digests, no output. Both from and to local files: a server
would take part of the same cores. Target: at least 0.85.

Start-up is on neither side. Ray and the loop's processes are started once, before, and the first
pass of each, in which Ray's workers start and import, is dropped. What Ray still does at the start
of each job is what a job on NUM_FEW pictures takes; it is a third arm, and it is taken off. The
second line of the table leaves it in.

The details hold the processor time of each part of the job's work for one picture.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.decode_loop import DecodeLoop, decode_files
from benchmarks.interleaved import Arm, Report, after_each_round, arguments
from benchmarks.photographs import photographs

from darkroom.config import build_config
from darkroom.jobs.batch.commits import Commit, CommitLog
from darkroom.jobs.batch.committer import Committer
from darkroom.jobs.batch.merge import Folder, Layout, group_pieces, merger, merging_pieces
from darkroom.jobs.batch.piece import Piece
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.job import run
from darkroom.jobs.prepare.plan import plan_pieces
from darkroom.jobs.prepare.rows import DATASET_SCHEMA, MakeRows, item_table
from darkroom.jobs.prepare.sources import open_source
from darkroom.jobs.rejects import Rejects
from darkroom.jobs.session import ray_session
from darkroom.storage import PartWriter, parse_uri

AT_LEAST = 0.85
NUM_DIFFERENT, NUM_COPIES, NUM_CLASSES = 500, 16, 10
NUM_FEW = NUM_CLASSES


def picture_folder(folder: Path, *, num_copies: int) -> list[Path]:
    """Class folders of different pictures, each there several times; their files."""
    different = sorted(photographs(folder.with_name("different"), NUM_DIFFERENT).iterdir())
    paths = []
    for index, copy in itertools.product(range(NUM_DIFFERENT), range(num_copies)):
        target = folder / f"class-{index % NUM_CLASSES}" / f"{index:05d}-{copy:02d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(different[index], target)
        paths.append(target)
    return paths


def configs(pictures: Path, outputs: Path) -> Iterator[PrepareConfig]:
    """Jobs into fresh outputs."""
    for number in itertools.count():
        source = {"kind": "image_folder", "uri": str(pictures)}
        values = {"source": source, "output": str(outputs / f"out-{number:03d}")}
        yield build_config(PrepareConfig, values)


def prepare(config: PrepareConfig, *, num_pictures: int) -> float:
    """One job; its output does not stay."""
    started = time.perf_counter()
    result = run(config)
    seconds = time.perf_counter() - started
    assert result["num_rows"] == num_pictures, result
    shutil.rmtree(config.output)
    return seconds


def time_split(config: PrepareConfig, paths: Sequence[Path]) -> dict[str, float]:
    """Processor milliseconds for a picture of each part of the work, one after the other."""
    config = config.model_copy(update={"channels": 3})
    listing = open_source(config.source).listing()
    piece = plan_pieces(listing.items, config)[0]
    # Before the job's own work, which has Pillow keep its memory.
    decoding = _milliseconds(lambda: decode_files(paths[: len(piece.items)])) / len(piece.items)
    source, items = open_source(config.source), item_table(piece)
    make_rows = MakeRows(config.to_dict())
    rows = make_rows(items, Rejects("decode"))
    writer = PartWriter(parse_uri(config.output), "time-split")
    written: list[Commit] = []

    def write() -> None:
        committer = Committer(CommitLog(writer, uuid.uuid4().hex), DATASET_SCHEMA)
        written.append(committer.commit(Piece(0, rows, len(items))))

    def merge() -> None:
        layout = Layout(config.file_size_mb, config.row_group_rows, config.row_group_mb)
        groups = list(group_pieces(written[:1], [Folder("data/train")], file_mb=layout.file_mb))
        log = CommitLog(writer, uuid.uuid4().hex)
        merger(log, layout, groups).commit(merging_pieces(groups)[0])

    of_a_piece: dict[str, Callable[[], Any]] = {
        "read with digests": lambda: source.read(piece.items, concurrency=config.read_concurrency),
        "read, decode, check, make rows": lambda: make_rows(items, Rejects("decode")),
        "write and commit": write,
        "merge": merge,
    }
    of_all: dict[str, Callable[[], Any]] = {
        "list": lambda: open_source(config.source).listing(),
        "plan": lambda: plan_pieces(listing.items, config),
    }
    return {
        "decode only": decoding,
        **{name: _milliseconds(work) / len(piece.items) for name, work in of_a_piece.items()},
        **{name: _milliseconds(work) / len(listing.items) for name, work in of_all.items()},
    }


def _milliseconds(work: Callable[[], Any]) -> float:
    """Of this process's processors, the second time."""
    work()
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def main() -> None:
    given = arguments(__doc__).parse_args()
    num_cores = os.cpu_count() or 1
    report = Report("prepare")
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name,
        ray_session(num_cpus=num_cores),
    ):
        pictures = Path(name, "pictures")
        paths = picture_folder(pictures, num_copies=4 if given.quick else NUM_COPIES)
        few = Path(name, "few")
        for path in paths[:: len(paths) // NUM_FEW]:
            (few / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, few / path.parent.name / path.name)
        jobs, small_jobs = configs(pictures, Path(name, "out")), configs(few, Path(name, "start"))
        loop = DecodeLoop(paths, num_processes=num_cores)
        arms: dict[str, Arm] = {
            "decoding": loop,
            "prepare": lambda: prepare(next(jobs), num_pictures=len(paths)),
            "start-up": lambda: prepare(next(small_jobs), num_pictures=NUM_FEW),
        }
        for timings in after_each_round(arms, num_rounds=given.rounds):
            report.details |= {"pictures": len(paths), "seconds": timings.seconds}
            ratio = timings.beyond(prepare="start-up").ratio("decoding", "prepare")
            report.add("prepare: pictures a second / decoding's", ratio, at_least=AT_LEAST)
            whole = timings.ratio("decoding", "prepare")
            report.add("the same, each job's start-up left in", whole)
        loop.close()
        report.details["processor_milliseconds_for_a_picture"] = time_split(next(jobs), paths)
    report.write()


if __name__ == "__main__":
    main()
