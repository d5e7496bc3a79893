"""Which picture gets which class, seed and file name: decided before anything is drawn.

A plan is a pure function of the config and the model's classes. It knows nothing of actors
and batches, which is why they cannot change the pictures.
"""

from __future__ import annotations

import re
import unicodedata
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


def resolve_classes(wanted: Sequence[str] | None, classes: Sequence[str]) -> list[int]:
    """Indices into `classes` of what was asked for, in the order asked; None asks for all.

    Each text is a class's name, else an index, else several of them between commas.
    Errors: ConfigError naming the closest class.
    """
    if wanted is None:
        return list(range(len(classes)))
    return [index for text in wanted for index in _resolve(text, classes)]


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


def _resolve(text: str, classes: Sequence[str]) -> list[int]:
    words = text.split(",")
    indices: list[int] = []
    while words:
        # ImageNet has a class "tabby, tabby cat": the longest run of words that is a name is meant.
        runs = ((length, ",".join(words[:length])) for length in range(len(words), 0, -1))
        found = next((run for run in runs if _named(run[1], classes) is not None), None)
        length, name = found or (1, words[0])
        index = _named(name, classes)
        indices.append(_indexed(name.strip(), classes) if index is None else index)
        del words[:length]
    return indices


def _named(text: str, classes: Sequence[str]) -> int | None:
    """The class of that name, if need be whatever the form of its Unicode and the spaces around."""
    if text in classes:
        return classes.index(text)
    folded = [_folded(name) for name in classes]
    return folded.index(_folded(text)) if _folded(text) in folded else None


def _folded(name: str) -> str:
    return re.sub(r"\s*,\s*", ",", unicodedata.normalize("NFC", name).strip())


def _indexed(text: str, classes: Sequence[str]) -> int:
    """The class with that number. `07` is a name that is not there, and no number."""
    if re.fullmatch(r"0|[1-9][0-9]{0,8}", text) and int(text) < len(classes):
        return int(text)
    guess = closest(text, classes)
    raise ConfigError(
        "classes", text, "is neither a class of the model nor the index of one",
        f"did you mean {guess!r}?" if guess and not text.isdecimal()
        else f"it has {len(classes)}, numbered from 0: {_shown(classes)}",
    )  # fmt: skip


def _shown(classes: Sequence[str]) -> str:
    more = f", ... ({len(classes)} in all)" if len(classes) > 12 else ""
    return ", ".join(classes[:12]) + more
