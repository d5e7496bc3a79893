"""Whether the pictures are grey: looked at on Ray, in tasks, before any is prepared.

A picture is grey when each of its pixels is, however its file stores them: a grey JPEG or PNG
says so in its header, of any other all pixels are compared. One picture with colour decides, so
few files of a coloured set are looked at; of grey files it is the first HEAD_BYTES alone. What
cannot be decoded has no say. The answer depends on the pictures alone, not on the tasks.
"""

from __future__ import annotations

import io
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import ray
from PIL import Image, ImageChops

from darkroom.config import build_config
from darkroom.jobs.pictures.decode import decode, sniff
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.plan import PlannedPiece
from darkroom.jobs.prepare.rows import item_table, items_of
from darkroom.jobs.prepare.source import PictureSource
from darkroom.jobs.prepare.sources import open_source
from darkroom.jobs.ray_data import darkroom_errors
from darkroom.jobs.rejects import Reject

HEAD_BYTES = 64 * 1024
"""Enough for what cameras and editors put before a picture's dimensions, mostly."""
MAX_GROUP = 64
"""Files of a task that are read at once; the first is looked at alone."""

_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Glance:
    """What a task saw of its pictures."""

    coloured: str | None
    """Path of the first picture with colour; those behind it were not looked at."""
    num_grey: int


def choose_channels(pieces: Sequence[PlannedPiece], config: PrepareConfig) -> Literal[1, 3]:
    """1 when every picture is grey, else 3; says which and why."""
    if config.channels is not None:
        return config.channels
    if reason := config.needs_colour:
        logger.info("channels: 3, since %s", reason)
        return 3
    num_grey = 0
    for glance in _glances(pieces, config):
        num_grey += glance.num_grey
        if glance.coloured is not None:
            also = f", though of the pictures looked at {num_grey} are grey" if num_grey else ""
            logger.info("channels: 3, since %s has colour%s", glance.coloured, also)
            return 3
    if not num_grey:  # not one can be decoded, which the pipeline reports
        return 3
    logger.info("channels: 1, since all %d pictures are grey", num_grey)
    return 1


def _glances(pieces: Sequence[PlannedPiece], config: PrepareConfig) -> Iterator[Glance]:
    """One of each piece, in order, a few tasks ahead."""
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    max_in_flight = max(2, int(cluster.get("CPU", 1) / config.num_cpus))
    remote: Any = ray.remote
    task = remote(look_at).options(num_cpus=config.num_cpus)
    waiting, in_flight = deque(pieces), deque[Any]()
    with darkroom_errors():
        while waiting or in_flight:
            while waiting and len(in_flight) < max_in_flight:
                in_flight.append(task.remote(item_table(waiting.popleft()), config.to_dict()))
            yield ray.get(in_flight.popleft())


def look_at(table: pa.Table, config_values: dict[str, Any]) -> Glance:
    """One piece, up to its first picture with colour. Runs in a task."""
    config = build_config(PrepareConfig, config_values)
    items = items_of(table)
    wanted = [item for item in items if item.may_fit(config.limits.max_bytes)]
    source = open_source(config.source)
    num_grey = 0
    for group in _growing(wanted):
        for item, is_grey in _judged(group, source, config):
            if is_grey is False:
                return Glance(item.path, num_grey)
            num_grey += is_grey is True
    return Glance(None, num_grey)


def _judged(
    items: Sequence[Item], source: PictureSource, config: PrepareConfig
) -> Iterator[tuple[Item, bool | None]]:
    """Whether each is grey; None for what cannot be decoded."""
    listed = [item for item in items if item.data is None]
    read = source.heads(listed, length=HEAD_BYTES, concurrency=config.read_concurrency)
    heads = {item.id: head for item, head in zip(listed, read, strict=True)}
    heads |= {item.id: item.data for item in items if item.data is not None}
    unsure = {item.id for item in items if not says_grey(heads[item.id])}
    long = [item for item in items if item.id in unsure and len(heads[item.id]) < item.num_bytes]
    whole = source.read(long, concurrency=config.read_concurrency) if long else []
    data = heads | {item.id: content for item, content in zip(long, whole, strict=True)}
    for item in items:
        yield item, is_grey(data[item.id], config) if item.id in unsure else True


def says_grey(head: bytes) -> bool:
    """Whether a picture's first bytes say that it is grey."""
    if sniff(head) is None:
        return False
    try:
        with Image.open(io.BytesIO(head)) as image:
            return image.mode in _GREY_MODES
    except Exception:  # noqa: BLE001  (hostile or cut bytes: the whole file is looked at)
        return False


def is_grey(data: bytes, config: PrepareConfig) -> bool | None:
    """Whether all pixels are grey; None where there are none to be had."""
    picture = decode(
        data,
        channels=3,
        background=config.background,
        animated=config.animated,
        limits=config.limits,
    )
    if isinstance(picture, Reject):
        return None
    red, green, blue = picture.image.split()
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))


def _growing(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Groups of 1, 2, 4, ... items: a coloured set is known by its first."""
    start, size = 0, 1
    while start < len(items):
        yield items[start : start + size]
        start, size = start + size, min(2 * size, MAX_GROUP)
