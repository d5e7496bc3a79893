"""What is shown of a sampling run at a glance: `grid.png`, `strip.png` and its single frames.

Collects a few pictures per class as they are drawn; a run of a million costs no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from darkroom.jobs.pictures.decode import published_pixels
from darkroom.jobs.sample.drawer import DrawnImage
from darkroom.jobs.sample.plan import slug
from darkroom.report.sheet import Pixels, SheetRow, as_picture, contact_sheet, png_bytes

MAX_ROWS = 40
MAX_COLUMNS = 10


@dataclass
class Album:
    """The first pictures of each class, in the order drawn."""

    rows: dict[str, list[Pixels]] = field(default_factory=dict)
    strips: dict[str, Sequence[Pixels]] = field(default_factory=dict)
    """Class -> the intermediates of its first picture, noise first."""

    def add(self, images: Sequence[DrawnImage]) -> None:
        """Keep what is still wanted of `images`."""
        for image in images:
            name = image.planned.class_name or ""
            if name not in self.rows and len(self.rows) < MAX_ROWS:
                self.rows[name] = []
            row = self.rows.get(name)
            if row is not None and len(row) < MAX_COLUMNS:
                row.append(as_picture(published_pixels(image.png, where=image.planned.id)))
            if len(image.frames):
                self.strips[name] = image.frames

    def grid(self) -> bytes:
        """One row per class, as PNG."""
        return png_bytes(
            contact_sheet([SheetRow(name, images) for name, images in self.rows.items()])
        )

    def strip(self, levels: Sequence[int | None]) -> bytes:
        """One row per class, from noise to picture, as PNG."""
        rows = [SheetRow(name, frames) for name, frames in list(self.strips.items())[:MAX_ROWS]]
        return png_bytes(contact_sheet(rows, column_labels=[level_label(t) for t in levels]))

    def frames(self, levels: Sequence[int | None]) -> Iterator[tuple[str, str, int | None, bytes]]:
        """Each single frame: class, file name, timestep, PNG."""
        for name, frames in self.strips.items():
            for number, (frame, t) in enumerate(zip(frames, levels, strict=True)):
                at = "picture" if t is None else f"t{t:04d}"
                stem = f"{slug(name)}-{number:02d}" if name else f"{number:02d}"
                yield name, f"strip/{stem}-{at}.png", t, png_bytes(np.asarray(frame))


def level_label(t: int | None) -> str:
    """A timestep as a column's heading; None is the finished picture."""
    return "picture" if t is None else f"t = {t}"
