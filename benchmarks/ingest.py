"""Where `data.ingest: ray_data` begins to pay: both ingests on the same JPEGs, by their size.

    python -m benchmarks.ingest [--rounds 7] [--quick]

The exact stream decodes in one thread beside each trainer, so a worker that trains on more
images per second than one core decodes must wait. Ray Data decodes on any number of cores, but
every image costs more: it passes through the object store and is shuffled in a buffer. Both are
measured in CPU time per image, which other load on the machine changes little, in one process and
one Ray. The details hold the images that one core decodes in a second: where waiting begins.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.interleaved import Report, after_each_round, arguments
from PIL import Image
from sklearn.datasets import load_sample_image

from darkroom.config import JobConfig
from darkroom.jobs.artifacts.dataset import DatasetInfo
from darkroom.jobs.session import ray_session
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.goodput import Stopwatch
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.ray_data_rows import decoded_dataset
from darkroom.jobs.training.ray_data_stream import RayDataStream
from darkroom.jobs.training.stream import BatchStream, DataRows
from darkroom.jobs.training.training_stream import Batch
from darkroom.storage import Artifact, open_output

BATCH = 32
COLUMNS = ("image", "label")
ROW_GROUP = 64
NUM_IMAGES = {32: 4096, 128: 1536, 256: 768}
QUICK_SHARE = 4


def publish_photographs(uri: Path, size: int, count: int) -> Artifact:
    """Random crops of a photograph, as JPEG, as `prepare` publishes them."""
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    random = np.random.default_rng(size)
    rows = []
    for index in range(count):
        left, top = (int(random.integers(0, end - 300)) for end in photograph.size)
        crop = photograph.crop((left, top, left + 300, top + 300)).resize((size, size))
        sink = io.BytesIO()
        crop.save(sink, "JPEG", quality=92)
        rows.append({"id": f"{index:05d}", "image": sink.getvalue(), "label": index % 10})
    table = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows), table, row_group_size=ROW_GROUP, write_page_checksum=True
    )
    with open_output(str(uri), kind="dataset", config=JobConfig(output=str(uri))) as output:
        groups = [ROW_GROUP] * (count // ROW_GROUP)
        entry = output.writer.write_bytes(
            "data/train/part-00000.parquet", table.getvalue(), rows=count,
            metadata={"split": "train", "row_groups": groups},
        )  # fmt: skip
        info = DatasetInfo(
            num_rows=count, num_rejected=0, rejected={}, piece_rows=ROW_GROUP, figures=None,
            classes=(), split_rows={"train": count}, image_size=(size, size), channels=3,
            num_skipped={}, source={},
        )  # fmt: skip
        return output.publish([entry], rows=count, metadata=info.to_metadata())


def cpu_seconds() -> float:
    """CPU time of this process and of every process of its Ray so far."""
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def per_image(batches: Iterable[Batch]) -> float:
    """CPU seconds for an image when everything is taken."""
    before = cpu_seconds()
    count = sum(len(batch["image"]) for batch in batches)
    return (cpu_seconds() - before) / count


def exact_epochs(data: TrainingData, count: int) -> Callable[[], BatchStream]:
    """Epochs of the exact stream, decoded anew each time."""
    groups = data.dataset.row_groups("train")
    plan = DataPlan(groups, seed=0, shuffle_window=16, batching=Batching(BATCH))
    rows = DataRows(data, plan, COLUMNS, cache_bytes=0)
    return lambda: BatchStream(rows, plan, num_steps=count // BATCH)


def ray_data_epochs(
    data: TrainingData, config: TrainConfig, count: int
) -> Callable[[], RayDataStream]:
    """Epochs through Ray Data, decoded anew each time."""
    decoded = decoded_dataset(data, config, COLUMNS)
    (shard,) = decoded.streaming_split(1, equal=True)
    return lambda: RayDataStream(
        shard, seed=0, batch_size=BATCH, batches_per_epoch=count // BATCH,
        num_steps=count // BATCH, stopwatch=Stopwatch(),
    )  # fmt: skip


def compare(size: int, count: int, folder: Path, report: Report, *, num_rounds: int) -> None:
    """Both ingests at one image size, into the report."""
    dataset = publish_photographs(folder / str(size), size, count)
    config = TrainConfig(input=str(dataset.uri), output="unused")
    data = TrainingData.of(dataset, config)
    exact = exact_epochs(data, count)
    ray_data = ray_data_epochs(data, config, count)
    arms = {"exact": lambda: per_image(exact()), "ray_data": lambda: per_image(ray_data())}
    what = f"CPU time of an image, {size} px: ray_data / exact"
    for timings in after_each_round(arms, num_rounds=num_rounds):
        report.details[f"{size} px"] = {
            "images": count,
            "cpu_seconds": timings.seconds,
            "images_per_core_second": {
                name: 1 / statistics.median(seconds) for name, seconds in timings.seconds.items()
            },
        }
        report.add(what, timings.ratio("ray_data", "exact"))


def main() -> None:
    given = arguments(__doc__).parse_args()
    report = Report("ingest")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, ray_session():
        for size, count in NUM_IMAGES.items():
            taken = count // QUICK_SHARE if given.quick else count
            compare(size, taken, Path(folder), report, num_rounds=given.rounds)


if __name__ == "__main__":
    main()
