"""What is kept of a run to be shown at a glance."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from PIL import Image
from tests.helpers.pictures import decoded

from darkroom.jobs.artifacts.samples import StripFrame
from darkroom.jobs.sample.album import MAX_COLUMNS, Album
from darkroom.jobs.sample.plan import plan_images
from darkroom.pages.sheet import png_bytes


def png(level: int) -> bytes:
    return png_bytes(np.full((8, 8), level, dtype=np.uint8))


class Pictures:
    """Files of a run: the picture of row n has the grey level n. Notes what is read."""

    def __init__(self, *rejected: str) -> None:
        self.read_names: list[str] = []
        self._rejected = rejected

    def __call__(self, names: list[str]) -> list[bytes | None]:
        self.read_names += names
        return [
            None if name in self._rejected else png(int(name.split("/")[1][:6])) for name in names
        ]


def test_the_grid_shows_the_first_pictures_of_each_class_and_reads_no_others() -> None:
    plan = plan_images(3 * MAX_COLUMNS, [0, 1], ["a", "b"])
    pictures = Pictures("images/000002-a.png")
    grid = np.asarray(Image.open(io.BytesIO(Album([]).grid(plan, pictures))).convert("L"))
    assert len(pictures.read_names) == 2 * MAX_COLUMNS
    shown = set(np.unique(grid).tolist())
    assert {0, 1, 3, 4, 5} <= shown
    assert 2 not in shown, "its picture was rejected"


def test_frames_are_files_that_say_their_class_and_timestep() -> None:
    plan = plan_images(2, [0], ["a/b"], strip=True)
    table = plan.append_column("file_name", pa.array(["images/x.png", "images/y.png"]))
    table = table.append_column("image", pa.array([png(1), png(2)]))
    table = table.append_column("frames", pa.array([[png(200), png(100)], []]))
    files = list(Album([980, None]).files(table))
    assert [file.name for file in files] == [
        "images/x.png",
        "images/y.png",
        "strip/000000-a_b-00-t0980.png",
        "strip/000000-a_b-01-picture.png",
    ]
    assert [file.metadata for file in files[2:]] == [
        StripFrame("a/b", t).to_metadata() for t in (980, None)
    ]
    assert isinstance(files[2].data, bytes)
    assert int(decoded(files[2].data)[0, 0]) == 200
