"""What is shown of a sampling run at a glance: `grid.png`, `strip.png` and its single frames.

The frames are files of the pieces; the two sheets are made at the end of what was committed, from
a few pictures per class, so a run of a million costs no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from darkroom.jobs.artifacts.samples import StripFrame, level_label
from darkroom.jobs.batch.commits import PieceFile
from darkroom.jobs.drawing.encode import file_name, image_files
from darkroom.jobs.pictures.decode import published_pixels
from darkroom.pages.sheet import SheetRow, as_picture, contact_sheet, png_bytes

MAX_ROWS = 40
MAX_COLUMNS = 10


@dataclass(frozen=True)
class Album:
    """The files of a run's pictures. Picklable: the writing tasks carry it."""

    levels: Sequence[int | None]
    """The timestep of each frame of the strip; None is the finished picture."""

    def files(self, table: pa.Table) -> Iterator[PieceFile]:
        """A piece's pictures, and the frames of those that are in the strip."""
        yield from image_files(table)
        for row in table.select(["id", "class_name", "frames"]).to_pylist():
            names = self._frame_names(row["id"])
            for name, png, t in zip(names, row["frames"], self.levels, strict=False):
                frame = StripFrame(row["class_name"] or "", t)
                yield PieceFile(name, png, metadata=frame.to_metadata())

    def grid(self, plan: pa.Table, read: Callable[[list[str]], list[bytes | None]]) -> bytes:
        """The first pictures of each class or prompt, a row for each, as PNG.

        read: the bytes of files by name; None for a picture that was rejected.
        """
        names: dict[str, list[str]] = defaultdict(list)
        for row in plan.select(["id", "class_name", "prompt"]).to_pylist():
            found = names[row["class_name"] or row["prompt"] or ""]
            if len(found) < MAX_COLUMNS:
                found.append(file_name(row["id"]))
        return png_bytes(contact_sheet(_rows(names, read)))

    def strip(self, plan: pa.Table, read: Callable[[list[str]], list[bytes | None]]) -> bytes:
        """One row per class, from noise to picture, as PNG."""
        kept = plan.filter(plan["in_strip"]).to_pylist()
        names = {row["class_name"] or "": self._frame_names(row["id"]) for row in kept}
        labels = [level_label(t) for t in self.levels]
        return png_bytes(contact_sheet(_rows(names, read), column_labels=labels))

    def _frame_names(self, row_id: str) -> list[str]:
        """Noise first."""
        levels = ["picture" if t is None else f"t{t:04d}" for t in self.levels]
        return [f"strip/{row_id}-{at:02d}-{level}.png" for at, level in enumerate(levels)]


def _rows(
    names: dict[str, list[str]], read: Callable[[list[str]], list[bytes | None]]
) -> list[SheetRow]:
    """The sheet's rows; a class none of whose pictures is there has none."""
    shown = list(names.items())[:MAX_ROWS]
    wanted = [name for _, files in shown for name in files]
    found = dict(zip(wanted, read(wanted), strict=True))
    rows = []
    for class_name, files in shown:
        pngs = [(name, png) for name in files if (png := found[name])]
        if pngs:
            pictures = [as_picture(published_pixels(png, where=name)) for name, png in pngs]
            rows.append(SheetRow(class_name, pictures))
    return rows
