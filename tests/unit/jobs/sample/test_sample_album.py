"""What is kept of a run to be shown at a glance."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.pictures import decoded

from darkroom.jobs.sample.album import MAX_COLUMNS, Album
from darkroom.jobs.sample.drawer import DrawnImage
from darkroom.jobs.sample.plan import plan_images
from darkroom.report.sheet import png_bytes
from darkroom.storage import FileEntry


def drawn(total: int, classes: list[str], *, strip: bool = False) -> list[DrawnImage]:
    def picture(level: int) -> NDArray[np.uint8]:
        return np.full((8, 8), level % 256, dtype=np.uint8)

    return [
        DrawnImage(
            planned=planned,
            entry=FileEntry(planned.file_name, "key", 1, "0" * 64),
            png=png_bytes(picture(planned.index)),
            frames=[picture(200), picture(100)] if planned.keep_frames else (),
        )
        for planned in plan_images(0, total, list(range(len(classes))), classes, strip=strip)
    ]


def test_the_first_pictures_of_each_class_are_kept() -> None:
    album = Album()
    album.add(drawn(3 * MAX_COLUMNS, ["a", "b"])[:7])
    album.add(drawn(3 * MAX_COLUMNS, ["a", "b"])[7:])
    assert list(album.rows) == ["a", "b"]
    assert [int(image[0, 0]) for image in album.rows["b"]] == list(range(1, 2 * MAX_COLUMNS, 2))


def test_the_grid_has_a_row_per_class_and_shows_the_pictures() -> None:
    album = Album()
    album.add(drawn(4, ["a", "b"]))
    grid = np.asarray(Image.open(io.BytesIO(album.grid())).convert("L"))
    assert {0, 1, 2, 3} <= set(np.unique(grid).tolist())


def test_frames_are_named_by_class_number_and_timestep() -> None:
    album = Album()
    album.add(drawn(4, ["a/b", "c"], strip=True))
    frames = list(album.frames([980, None]))
    assert [name for _, name, _, _ in frames] == [
        "strip/a_b-00-t0980.png",
        "strip/a_b-01-picture.png",
        "strip/c-00-t0980.png",
        "strip/c-01-picture.png",
    ]
    assert [int(decoded(png)[0, 0]) for *_, png in frames] == [200, 100, 200, 100]
