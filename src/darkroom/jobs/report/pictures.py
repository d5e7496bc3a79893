"""The pictures on the page: real ones, generated ones, and the forward process on a real one.

Reads no more than it shows: row groups until every class has enough pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from darkroom.diffusion.noise import ImageNoise
from darkroom.diffusion.schedule import NoiseSchedule
from darkroom.diffusion.seeds import image_seed
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.samples import Samples, level_label
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.pages.page import Bitmap, PictureTable
from darkroom.pages.sheet import Pixels, as_picture, enlarge, grey_levels, tile

MAX_CLASSES = 20
TILE_PIXELS = 48
FRAME_PIXELS = 72

PicturesByClass = dict[str, list[Pixels]]


def real_pictures(data: Dataset, num_per_class: int) -> PicturesByClass:
    """The first training pictures of each class ("" when there are none), in class order."""
    classes = data.info.classes
    rows = (
        ("" if not classes or row.label is None else classes[row.label], row.image)
        for row in data.rows("train")
    )
    return _collect(rows, classes[:MAX_CLASSES] or [""], num_per_class)


def generated_pictures(samples: Samples, num_per_class: int) -> PicturesByClass:
    """The first generated pictures of each class, in class order."""
    classes = [name for name in samples.info.classes if name in samples.info.num_per_class]
    rows = (
        (row["class_name"] or "", row["image"])
        for table in samples.tables(["class_name", "image"])
        for row in table.to_pylist()
    )
    return _collect(rows, classes[:MAX_CLASSES] or [""], num_per_class)


def side_by_side(real: PicturesByClass, generated: PicturesByClass) -> PictureTable:
    """One row per class; a column for each side that has pictures."""
    sides = {"real (training data)": real, "generated": generated}
    shown = {name: pictures for name, pictures in sides.items() if any(pictures.values())}
    classes = list(dict.fromkeys(name for pictures in shown.values() for name in pictures))
    return PictureTable(
        columns=list(shown),
        rows=[
            (name, [_row_picture(side, name, rows.get(name, ())) for side, rows in shown.items()])
            for name in classes
        ],
    )


def forward_strip(
    real: PicturesByClass, schedule: NoiseSchedule, *, seed: int, num_rows: int = 3
) -> PictureTable:
    """Real pictures, one of each of a few classes, with the noise of several timesteps."""
    levels = forward_levels(schedule.num_timesteps)
    chosen = {name: pictures[0] for name, pictures in real.items() if pictures}
    rows = [
        (
            name,
            [
                _frame(frame, f"{name} at {level_label(t)}")
                for t, frame in zip(levels, frames, strict=True)
            ],
        )
        for index, (name, image) in enumerate(list(chosen.items())[:num_rows])
        for frames in [noised(image, schedule, levels, image_seed(seed, index))]
    ]  # fmt: skip
    return PictureTable(columns=[level_label(t) for t in levels], rows=rows, style="strip")


def noised(
    image: Pixels, schedule: NoiseSchedule, levels: Sequence[int | None], seed: int
) -> list[Pixels]:
    """q(x_t | x_0) of one picture at each level, with one and the same noise; None is x_0."""
    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    x_0 = torch.from_numpy(channels.astype(np.float32))[None] / 127.5 - 1
    noise = ImageNoise([seed], channels.shape).initial()
    return [
        image
        if t is None
        else as_picture(grey_levels(schedule.q_sample(x_0, torch.tensor([t]), noise)[0].numpy()))
        for t in levels
    ]


def forward_levels(num_timesteps: int, num_frames: int = 9) -> list[int | None]:
    """The real picture, then timesteps spread evenly up to the last."""
    last = num_timesteps - 1
    steps = np.linspace(0, last, num_frames)[1:]
    return [None, *dict.fromkeys(round(float(step)) for step in steps)]


def reverse_strip(samples: Samples, num_rows: int = MAX_CLASSES) -> PictureTable | None:
    """The intermediates that `sample` kept; None when it kept none."""
    frames = samples.strip(num_rows)
    if not frames:
        return None
    levels = [t for t, _ in next(iter(frames.values()))]
    rows = [
        (name, [_frame(as_picture(image), f"{name} at {level_label(t)}") for t, image in row])
        for name, row in frames.items()
    ]
    return PictureTable(columns=[level_label(t) for t in levels], rows=rows, style="strip")


def _collect(
    rows: Iterator[tuple[str, bytes]], classes: Sequence[str], num_per_class: int
) -> PicturesByClass:
    found: PicturesByClass = {name: [] for name in classes}
    missing = len(classes)
    for name, image in rows:
        if name in found and len(found[name]) < num_per_class:
            pixels = published_pixels(image, where=f"a picture of class {name}")
            found[name].append(as_picture(pixels))
            missing -= len(found[name]) == num_per_class
        if not missing:
            break
    return found


def _row_picture(side: str, name: str, pictures: Sequence[Pixels]) -> Bitmap | None:
    if not pictures:
        return None
    count = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
    alt = f"{count}, {side}" + (f", class {name}" if name else "")
    return Bitmap(tile(pictures, num_columns=len(pictures), min_pixels=TILE_PIXELS), alt)


def _frame(image: Pixels, alt: str) -> Bitmap:
    return Bitmap(enlarge(image, FRAME_PIXELS), alt.strip())
