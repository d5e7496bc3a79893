"""Where `data.ingest: ray_data` begins to pay: both ingests on the same JPEGs, by their size.

    python benchmarks/ingest.py --output ingest.json

The exact stream decodes in one thread beside each trainer, so a worker that trains on more
images per second than one core decodes must wait. Ray Data decodes on any number of cores, but
every image costs more: it passes through the object store and is shuffled in a buffer. Both are
measured in CPU time per image, which other load on the machine changes little, in turns (exact,
ray, ray, exact), in one process and one Ray.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_sample_image

from darkroom.config import JobConfig
from darkroom.jobs.capacity import most_cpus
from darkroom.jobs.session import ray_session
from darkroom.jobs.training.config import WorkersConfig
from darkroom.jobs.training.ledger import Stopwatch
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.ray_data_stream import RayDataStream, decoded_dataset
from darkroom.jobs.training.stream import BatchStream, ImageRows, ImageShape, row_groups
from darkroom.jobs.training.training_stream import Batch
from darkroom.storage import Artifact, open_output

BATCH = 32
ROW_GROUP = 64
NUM_IMAGES = {32: 4096, 128: 1536, 256: 768}
TURNS = ("exact", "ray_data", "ray_data", "exact")


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
        return output.publish([entry], rows=count, metadata={"image_size": [size, size]})


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


def drain(batches: Iterable[Batch]) -> dict[str, float]:
    """Take everything; images, CPU seconds and wall seconds."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    images = sum(len(batch["image"]) for batch in batches)
    return {
        "images": images,
        "cpu_seconds": cpu_seconds() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


def exact(dataset: Artifact, shape: ImageShape, count: int) -> BatchStream:
    groups = row_groups(dataset, "train")
    plan = DataPlan(groups, seed=0, shuffle_window=16, batching=Batching(BATCH))
    rows = ImageRows(dataset, plan, shape, cache_bytes=0)
    return BatchStream(rows, plan, num_micro_steps=count // BATCH)


def measure(size: int, folder: Path, rounds: int) -> dict[str, Any]:
    """Both ingests at one image size."""
    count = NUM_IMAGES[size]
    dataset = publish_photographs(folder / str(size), size, count)
    shape = ImageShape(size, size, 3)
    decoded = decoded_dataset(dataset, shape, limit=None, workers=WorkersConfig())
    (shard,) = decoded.streaming_split(1, equal=True)

    def epoch() -> RayDataStream:
        return RayDataStream(
            shard, seed=0, batch_size=BATCH, batches_per_epoch=count // BATCH,
            num_micro_steps=count // BATCH, stopwatch=Stopwatch(),
        )  # fmt: skip

    drain(epoch())  # starts Ray's processes
    found: dict[str, list[dict[str, float]]] = {"exact": [], "ray_data": []}
    for name in TURNS * rounds:
        found[name].append(drain(exact(dataset, shape, count) if name == "exact" else epoch()))
    result: dict[str, Any] = {"size": size, "images": count, "runs": found}
    for name, runs in found.items():
        per_image = [run["cpu_seconds"] / run["images"] for run in runs]
        result[name] = {
            "cpu_ms_per_image": 1000 * statistics.median(per_image),
            "cpu_ms_range": [1000 * min(per_image), 1000 * max(per_image)],
            "images_per_core_second": 1 / statistics.median(per_image),
            "images_per_second": statistics.median(
                [run["images"] / run["wall_seconds"] for run in runs]
            ),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="turns of four runs per size")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ray_session():
        results = [measure(size, Path(folder), arguments.rounds) for size in NUM_IMAGES]
        cpus = most_cpus()
    report = {"cores": os.cpu_count(), "ray_cpus": cpus, "load": os.getloadavg(), "sizes": results}
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print("| JPEG | exact, images/s of one core | Ray Data, images/s per core | cost |")
    print("|---|--:|--:|--:|")
    for result in results:
        one, other = (result[name]["images_per_core_second"] for name in ("exact", "ray_data"))
        print(f"| {result['size']} | {one:,.0f} | {other:,.0f} | {one / other:.2f} |")


if __name__ == "__main__":
    main()
