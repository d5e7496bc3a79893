"""Which picture gets which class, seed and file name: decided before anything is drawn.

A plan is a pure function of the config and the model's classes. It knows nothing of actors
and batches, which is why they cannot change the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darkroom.config import closest
from darkroom.diffusion.noise import image_seed
from darkroom.errors import ConfigError


@dataclass(frozen=True)
class PlannedImage:
    """One picture to draw."""

    index: int
    """Position in the run, from 0."""
    label: int | None
    """Index of the class in the model's classes; None when the model knows no classes."""
    class_name: str | None
    seed: int
    """Drives all of the picture's noise: 64 bits."""
    keep_frames: bool = False
    """Whether its intermediates go into the strip."""

    @property
    def id(self) -> str:
        """Unique within the run, and safe in a file name."""
        number = f"{self.index:06d}"
        return number if self.class_name is None else f"{number}-{slug(self.class_name)}"

    @property
    def file_name(self) -> str:
        """Logical path inside the artifact."""
        return f"images/{self.id}.png"


def resolve_classes(wanted: Sequence[str | int] | None, classes: Sequence[str]) -> list[int]:
    """Indices into `classes` of what was asked for, in the order asked; None asks for all.

    A string is a class name first; digits that name no class are an index, as a number is.
    Errors: ConfigError naming the closest class.
    """
    if wanted is None:
        return list(range(len(classes)))
    return [_resolve(item, classes) for item in wanted]


def plan_images(
    seed: int, total: int, labels: Sequence[int], classes: Sequence[str], *, strip: bool = False
) -> list[PlannedImage]:
    """`total` pictures that take the classes of `labels` in turn; no labels, no classes.

    With `strip`, the first picture of each class keeps its intermediates.
    """
    turn: Sequence[int | None] = labels or (None,)
    return [
        PlannedImage(
            index=index,
            label=(label := turn[index % len(turn)]),
            class_name=None if label is None else classes[label],
            seed=image_seed(seed, index),
            keep_frames=strip and turn.index(label) == index,
        )
        for index in range(total)
    ]


def batches(images: Sequence[PlannedImage], batch_size: int) -> Iterator[Sequence[PlannedImage]]:
    """Consecutive runs of at most `batch_size` pictures."""
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def slug(text: str) -> str:
    """A class name as a part of a file name: letters, digits, dot, dash; at most 40."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._")[:40] or "class"


def _resolve(item: str | int, classes: Sequence[str]) -> int:
    if isinstance(item, str) and item in classes:
        return classes.index(item)
    if isinstance(item, str) and not item.isdecimal():
        guess = closest(item, classes)
        raise ConfigError(
            "classes", item, "is not a class of the model",
            f"did you mean {guess!r}?" if guess else f"it knows: {_shown(classes)}",
        )  # fmt: skip
    index = int(item)
    if not 0 <= index < len(classes):
        raise ConfigError(
            "classes", item, "is neither a class name nor an index of the model",
            f"it has {len(classes)}, numbered from 0: {_shown(classes)}",
        )  # fmt: skip
    return index


def _shown(classes: Sequence[str]) -> str:
    more = f", ... ({len(classes)} in all)" if len(classes) > 12 else ""
    return ", ".join(classes[:12]) + more
