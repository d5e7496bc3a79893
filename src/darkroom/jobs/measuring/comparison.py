"""The features of the sets of pictures: what is compared, from what the batch run committed.

Rows are gathered in the order of the input into files of the temporary folder and mapped from
there in the type that they were made in, so the driver's memory does not grow with their number;
metrics take them by blocks of float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.jobs.pictures.shape import ImageShape
from darkroom.metrics.features import ScaledRows
from darkroom.temporary import temporary_folder

T = TypeVar("T")

GENERATED, AGAINST = "generated", "against"
TRAIN: Final = "train"
TEST: Final = "test"
SETS = (GENERATED, AGAINST, TRAIN, TEST)
"""In the order of the rows."""
SET, LABEL = "set", "label"
"""Columns of the committed parts, beside the rows' ids and one column per kind of features."""
CLIP, TEXT, CUT = "clip", "clip_text", "clip_cut"
"""Columns of CLIP: of the picture, of its prompt, and 1 where the prompt was too long."""
PROMPT, CLASS = "prompt", "class_name"
"""Columns of the rows: what a picture was to show, or a real one's caption; and the class that a
drawn one was to show, whether or not the reference has it."""
LPIPS = "lpips"
"""Column of pairs of pictures: how far each is from its partner, NaN where it has none."""
PIXELS = "pixels"
"""Grey levels, as decoded: uint8, where all that networks make is float32."""


@dataclass(frozen=True)
class PictureSet:
    """One set of pictures by its features."""

    features: Mapping[str, ScaledRows]
    """(N, D) by column; pixels lie in [0, 1] and are stored as grey levels."""
    labels: NDArray[np.int64] | None
    """(N,) indices into the classes; None when any picture has none."""

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))


@dataclass(frozen=True)
class Comparison:
    """Drawn pictures beside real ones."""

    generated: PictureSet
    train: PictureSet
    test: PictureSet
    classes: tuple[str, ...]
    digests: Mapping[str, str]
    """Of what made the features, by column: figures under two of them cannot be compared."""
    shape: ImageShape | None = None
    """Of the pictures, where their pixels are compared."""
    captions_are_known: bool = False
    """Of every test picture."""
    against: Comparison | None = None
    """A second set of drawn pictures beside the same real ones."""
    is_paired: bool = False
    """Each drawn picture has its like in the same row of the second set."""
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _of_real: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_training_split(self) -> bool:
        """Without it there is no floor."""
        return bool(len(self.train))

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What several figures share, computed for the first."""
        return _once(self._made, key, make)

    def once_of_real(self, key: str, make: Callable[[], T]) -> T:
        """The same of real pictures alone: both sets of drawn ones share it."""
        return _once(self._of_real, key, make)

    def rows(self, column: str) -> tuple[ScaledRows, ScaledRows, ScaledRows]:
        """The features of the generated, training and test pictures."""
        return (
            self.generated.features[column],
            self.train.features[column],
            self.test.features[column],
        )


@contextmanager
def collected(
    tables: Iterable[pa.Table],
    columns: Sequence[str],
    *,
    classes: tuple[str, ...],
    digests: Mapping[str, str],
    shape: ImageShape | None = None,
    captions_are_known: bool = False,
    is_paired: bool = False,
) -> Iterator[Comparison]:
    """Committed parts, in order, as a comparison that can be read until the end of the block.

    is_paired: row by row, the drawn pictures of the two sets belong together.
    """
    with temporary_folder("darkroom-features-") as folder:
        labels: dict[str, list[int | None]] = {name: [] for name in SETS}
        for table in tables:
            for name in SETS:
                rows = table.filter(pc.equal(table[SET], name))
                labels[name] += rows[LABEL].to_pylist()
                for column in columns:
                    _append(folder / f"{name}.{column}", rows[column])
        sets = {
            name: PictureSet(
                {column: _mapped(folder / f"{name}.{column}", column, len(of_set))
                 for column in columns},
                None if None in of_set else np.array(of_set, np.int64),
            )
            for name, of_set in labels.items()
        }  # fmt: skip
        alone = Comparison(
            generated=sets[GENERATED], train=sets[TRAIN], test=sets[TEST],
            classes=classes, digests=digests, shape=shape, captions_are_known=captions_are_known,
        )  # fmt: skip
        if not len(sets[AGAINST]):
            yield alone
            return
        second = replace(alone, generated=sets[AGAINST], _made={})
        yield replace(alone, against=second, is_paired=is_paired)


def _once(made: dict[str, Any], key: str, make: Callable[[], T]) -> T:
    if key not in made:
        made[key] = make()
    found: T = made[key]
    return found


def feature_column(rows: NDArray[Any]) -> pa.Array:
    """Features (N, D) as a column of bytes, a row each, without a copy."""
    count, width = len(rows), rows[:1].nbytes
    offsets = np.arange(count + 1, dtype=np.int64) * width
    content = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets), content]
    )


def column_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """All bytes of such a column, row after row."""
    parts = []
    for chunk in column.chunks:
        offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :][: len(chunk) + 1]
        parts.append(np.frombuffer(chunk.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _append(path: Path, column: pa.ChunkedArray) -> None:
    with path.open("ab") as file:
        column_bytes(column).tofile(file)


def _mapped(path: Path, column: str, count: int) -> ScaledRows:
    dtype, divisor = (np.uint8, 255.0) if column == PIXELS else (np.float32, 1.0)
    if not path.exists() or not path.stat().st_size:
        return ScaledRows(np.empty((0, 0), dtype), divisor)
    return ScaledRows(np.memmap(path, dtype, "r").reshape(count, -1), divisor)
