"""The Ray side of `prepare`: chunks through a streaming Ray Data pipeline into Parquet files.

    driver: chunk tables -> Ray Data tasks: read, decode, augment, encode -> blocks, in order
    driver: blocks grouped into files by their real size -> writing tasks -> file entries

Only encoded bytes cross the object store, and only references and entries reach the driver. One
task makes one block (no splitting, no bundling, order preserved), so the files depend on the
chunks alone: neither CPUs nor a task that Ray runs again after losing a worker can change,
lose or repeat a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.data

from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.parts import MB, Block, Part, WrittenPart, group_blocks, write_part
from darkroom.jobs.prepare.plan import Chunk
from darkroom.jobs.prepare.rows import chunk_table, process
from darkroom.jobs.ray_data import darkroom_errors, map_bounded, quiet_data_context
from darkroom.storage import PartWriter

BlockRef = Any  # ray.ObjectRef of a pyarrow.Table


def run_pipeline(
    chunks: Sequence[Chunk],
    config: PrepareConfig,
    writer: PartWriter,
    *,
    on_chunk: Callable[[Chunk], None],
) -> Iterator[WrittenPart]:
    """Write every chunk's rows; yields the written files in order.

    `on_chunk` is told of each chunk when its pictures are done. Errors: the DarkroomError that
    a task raised.
    """
    blocks = _blocks(chunks, config, on_chunk)
    parts = group_blocks(blocks, target_bytes=config.file_size_mb * MB)
    with darkroom_errors():
        yield from _write(parts, config, writer)


def _blocks(
    chunks: Sequence[Chunk], config: PrepareConfig, on_chunk: Callable[[Chunk], None]
) -> Iterator[Block[BlockRef]]:
    """The processed chunks, as references, in order."""
    with quiet_data_context(preserve_order=True):
        dataset = map_bounded(
            ray.data.from_blocks([chunk_table(chunk) for chunk in chunks]),
            process,
            fn_kwargs={"config_values": config.to_dict()},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=config.num_cpus,
        )
        entries = (
            entry for bundle in dataset.iter_internal_ref_bundles() for entry in bundle.blocks
        )
        for chunk, entry in zip(chunks, entries, strict=True):
            on_chunk(chunk)
            yield Block(chunk.split, entry.metadata.size_bytes, entry.ref)


def _write(
    parts: Iterator[Part[BlockRef]], config: PrepareConfig, writer: PartWriter
) -> Iterator[WrittenPart]:
    """Write parts in tasks, a few at once: their inputs fill the object store."""
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    max_in_flight = max(2, int(cluster.get("CPU", 1)) // 4)
    remote: Any = ray.remote  # its types know no starred arguments
    task = remote(write_part).options(num_cpus=config.num_cpus)
    in_flight: deque[Any] = deque()
    for part in parts:
        in_flight.append(
            task.remote(
                part.name,
                part.split,
                writer,
                *part.blocks,
                row_group_rows=config.row_group_rows,
                row_group_mb=config.row_group_mb,
            )
        )
        if len(in_flight) >= max_in_flight:
            yield ray.get(in_flight.popleft())
    while in_flight:
        yield ray.get(in_flight.popleft())
