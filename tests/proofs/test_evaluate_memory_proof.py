"""Proof: `evaluate` takes any number of pictures in the same memory, and killed midway ends equal.

Small pictures (64 x 64, crops of photographs) in a folder, compared by pixels and by a tiny CLIP of
random weights that stands in for a real one. EVALUATE_PROOF_PICTURES names the numbers, 2,000 and
20,000 by default. The largest of each process's anonymous memory is taken, four times a second:
features lie in mapped files, which the kernel may drop. All pixels as uint8 are 25 and 246 MB,
eight times that as float64; whoever held them would be seen.

`build/proofs/evaluate-memory.json` has a row for each number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.feature_networks import photograph_crops, save_tiny_clip
from tests.helpers.killing import killed_and_rerun
from tests.helpers.pictures import encoded
from tests.helpers.proof import keep
from tests.helpers.training import Run, running

from darkroom.config import build_config
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.artifacts.split_rows import SplitPart
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.storage import Artifact, open_artifact, open_output

SIDE, NUM_REAL, PIECE_ROWS = 64, 256, 250
NUMBERS = [int(n) for n in os.environ.get("EVALUATE_PROOF_PICTURES", "2000,20000").split(",")]
METRICS = ["memorisation", "kernel_clip", "frechet_clip", "precision_clip", "recall_clip"]
GROWTH_MB = 48
"""What the largest number may take beyond the smallest, in the driver and in each worker: a fifth
of the pixels that are more, as uint8."""
SEED = 7


def files_of(images: NDArray[Any]) -> list[bytes]:
    return [encoded(Image.fromarray(each.transpose(1, 2, 0)), "PNG", compress_level=1)
            for each in images]  # fmt: skip


def write_pictures(folder: Path, count: int) -> Path:
    """So many different crops as files."""
    folder.mkdir(parents=True)
    for start in range(0, count, 1000):
        number = min(1000, count - start)
        for index, data in enumerate(files_of(photograph_crops(number, start, SIDE)), start):
            (folder / f"{index:06d}.png").write_bytes(data)
    return folder


def publish_reference(uri: Path) -> Path:
    """Crops as `prepare` publishes them, a training and a test split."""
    config = build_config(PrepareConfig, {"source": {"kind": "digits"}, "output": str(uri)})
    files = []
    splits: tuple[Split, ...] = ("train", "test")
    with open_output(str(uri), kind="dataset", config=config) as output:
        for seed, split in enumerate(splits, 1_000_000):
            images = files_of(photograph_crops(NUM_REAL, seed, SIDE))
            ids = [f"{split}-{index:04d}" for index in range(NUM_REAL)]
            table = pa.table({"id": ids, "image": images, "label": [0] * NUM_REAL})
            part = SplitPart(split, (NUM_REAL,)).to_metadata()
            name = f"data/{split}/part-00000.parquet"
            files.append(
                output.writer.write_bytes(name, parquet_bytes(table), rows=NUM_REAL, metadata=part)
            )
        info = DatasetInfo(
            classes=("photograph",), num_rows=2 * NUM_REAL,
            split_rows=dict.fromkeys(splits, NUM_REAL), image_size=(SIDE, SIDE), channels=3,
            num_rejected=0, rejected={}, piece_rows=PIECE_ROWS, figures=None, num_skipped={},
            source={"kind": "digits"},
        )  # fmt: skip
        output.publish(files, rows=2 * NUM_REAL, metadata=info.to_metadata())
    return uri


def anonymous_mb(process: psutil.Process) -> float:
    """Memory of its own that no file is behind; 0 when it is gone."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    (line,) = [line for line in text.splitlines() if line.startswith("Anonymous:")]
    return int(line.split()[1]) / 1024


@contextmanager
def peaks(run: Run) -> Iterator[dict[str, float]]:
    """The largest memory, in MB: of the driver, of any worker of Ray's, of all of them together."""
    seen = {"driver": 0.0, "largest_worker": 0.0, "workers": 0.0}
    stopped = threading.Event()

    def look() -> None:
        while not stopped.wait(0.25):
            try:
                tree = run.tree()
                workers = [one for one in tree if one.cmdline()[:1] and "ray::" in one.cmdline()[0]]
            except psutil.Error:
                continue
            taken = [anonymous_mb(one) for one in workers]
            for name, value in (
                ("driver", anonymous_mb(tree[0])),
                ("largest_worker", max(taken, default=0.0)),
                ("workers", sum(taken)),
            ):
                seen[name] = max(seen[name], round(value, 1))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join(60)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A row for each number of pictures: undisturbed, then killed and run again."""
    folder = tmp_path_factory.mktemp("pictures")
    reference = publish_reference(folder / "reference")
    clip = save_tiny_clip(folder / "clip")
    rows = []
    for number in NUMBERS:
        pictures = write_pictures(folder / f"pictures-{number}", number)

        def settings(name: str, pictures: Path = pictures) -> dict[str, Any]:
            return {
                "input": str(pictures), "reference": str(reference), "metrics": METRICS,
                "output": str(folder / f"{pictures.name}-{name}"), "piece_rows": PIECE_ROWS,
                "networks": {"clip": {"model": str(clip)}, "batch_size": 64},
                "num_bootstrap": 20, "num_floor_draws": 2, "read_concurrency": 4,
            }  # fmt: skip

        undisturbed, memory = measured(settings("whole"), folder / "logs")
        kill = killed_and_rerun(
            "evaluate", settings("killed"), folder / "logs", seed=SEED, reference=undisturbed
        )
        rows.append(
            {
                "pictures": number, **memory, "killed_after_rows": kill.resumed_rows,
                "rerun_share": round(kill.rerun_share, 2), "rerun_seconds": kill.rerun_seconds,
            }
        )  # fmt: skip
        keep("evaluate-memory", rows)
    return rows


def measured(values: dict[str, Any], logs: Path) -> tuple[Artifact, dict[str, float]]:
    """An undisturbed run, and the memory that it took."""
    with running("evaluate", values, logs) as run, peaks(run) as seen:
        assert run.wait() == 0, run.log.read_text()[-4000:]
    return open_artifact(values["output"]), dict(seen)


@pytest.mark.timeout(7200)
def test_memory_does_not_grow_with_the_number_of_pictures(figures: list[dict[str, Any]]) -> None:
    first, last = figures[0], figures[-1]
    if len(figures) == 1:
        pytest.skip(f"only {first['pictures']} pictures: nothing to compare")
    assert all(row["driver"] > 100 and row["largest_worker"] > 100 for row in figures), figures
    grown = {name: last[name] - first[name] for name in ("driver", "largest_worker")}
    assert all(value <= GROWTH_MB for value in grown.values()), grown


@pytest.mark.timeout(7200)
def test_a_run_that_was_killed_midway_ends_equal(figures: list[dict[str, Any]]) -> None:
    """The comparison itself is in `killed_and_rerun`; here, that the kill of the longest run fell
    midway. A short one may have committed all by then."""
    row = figures[-1]
    assert 0 < row["killed_after_rows"] < row["pictures"] + 2 * NUM_REAL, row
