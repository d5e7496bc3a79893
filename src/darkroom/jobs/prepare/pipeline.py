"""The Ray side of `prepare`: chunks through a streaming Ray Data pipeline into Parquet files.

    driver: chunk tables -> Ray Data tasks: read, decode, augment, encode -> blocks, in order
    driver: blocks grouped into files by their real size -> writing tasks -> file entries

Only encoded bytes cross the object store, and only references and entries reach the driver. One
task makes one block (no splitting, no bundling, order preserved), so the files depend on the
chunks alone: neither CPUs nor a task that Ray runs again after losing a worker can change,
lose or repeat a row.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data import DataContext
from ray.exceptions import RayError, RayTaskError

from darkroom.errors import DarkroomError
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.parts import MB, Block, Part, WrittenPart, group_blocks, write_part
from darkroom.jobs.prepare.plan import Chunk
from darkroom.jobs.prepare.rows import chunk_table, process
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
    with _darkroom_errors():
        yield from _write(parts, config, writer)


def _blocks(
    chunks: Sequence[Chunk], config: PrepareConfig, on_chunk: Callable[[Chunk], None]
) -> Iterator[Block[BlockRef]]:
    """The processed chunks, as references, in order."""
    with _quiet_data_context():
        dataset = ray.data.from_blocks([chunk_table(chunk) for chunk in chunks]).map_batches(
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


@contextmanager
def _quiet_data_context() -> Iterator[None]:
    """Ray Data as this pipeline needs it: one block per task, in order, no bars, no chatter."""
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)  # what fails is raised
    before = DataContext.get_current()
    context = before.copy()
    context.target_max_block_size = None
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # our errors, not only their text
    DataContext._set_current(context)  # noqa: SLF001  (the only way to scope a context)
    try:
        yield
    finally:
        DataContext._set_current(before)  # noqa: SLF001


@contextmanager
def _darkroom_errors() -> Iterator[None]:
    """Our own errors out of Ray's wrappers, and Ray's as one line."""
    try:
        yield
    except RayError as error:
        raise _own_error(error) or DarkroomError(f"a task failed: {_summary(error)}") from error


def _own_error(error: BaseException | None) -> DarkroomError | None:
    while error is not None:
        if isinstance(error, DarkroomError) and not isinstance(error, RayError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _summary(error: RayError) -> str:
    """A task's own error ends in what was raised; the others begin with what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if isinstance(error, RayTaskError) else lines[0]
