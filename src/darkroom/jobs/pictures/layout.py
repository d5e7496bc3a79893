"""What the folders around pictures mean: their split and their class. Looks at names alone.

    <class>/**              cats/1.png            no split
    <split>/<class>/**      train/cats/1.png      the split of the folder
    <class>/<split>/**      cats/train/1.png      the same
    *.png                   1.png                 neither

Names are compared in Unicode NFC, splits whatever their case. Where the folders can be read in
two ways, nobody guesses: it is an error that names them, or a warning where classes matter little.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from darkroom.errors import DataError
from darkroom.jobs.pictures.config import Split

logger = logging.getLogger(__name__)

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""As the Hugging Face hub reads folder names."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture lies."""

    split: Split | None
    class_name: str | None
    """None for a picture that lies in no class folder."""


def split_of(folder: str) -> Split | None:
    """The split that a folder's name means."""
    return _SPLITS.get(folder.casefold())


def nfc(name: str) -> str:
    """macOS writes accents apart from their letters, everybody else together."""
    return unicodedata.normalize("NFC", name)


def places(keys: Sequence[str], *, where: str, field: str, strict: bool = True) -> list[Place]:
    """The place of each picture, in order.

    Errors: DataError for folders that mean two things; not `strict`, their names are classes.
    """
    parts = [nfc(key).split("/")[:-1] for key in keys]
    tops = sorted({names[0] for names in parts if names})
    if _are_splits(tops, parts, where=where, field=field, strict=strict):
        return [
            Place(split_of(names[0]), _at(names, 1)) if names else Place(None, None)
            for names in parts
        ]
    inside = [names for names in parts if names]
    if inside and all(len(names) > 1 and split_of(names[1]) for names in inside):
        is_wrapped = len(tops) == 1 and any(len(names) > 2 for names in inside)
        if is_wrapped and strict:
            raise DataError(
                field, where, f"holds one folder, {tops[0]}, and the splits are in there",
                f"name {where}/{tops[0]}",
            )  # fmt: skip
        level = 2 if is_wrapped else 0
        return [
            Place(split_of(names[1]), _at(names, level)) if names else Place(None, None)
            for names in parts
        ]
    return [Place(None, _at(names, 0)) for names in parts]


def _at(names: Sequence[str], level: int) -> str | None:
    return names[level] if len(names) > level else None


def _are_splits(
    tops: Sequence[str],
    parts: Iterable[Sequence[str]],
    *,
    where: str,
    field: str,
    strict: bool,
) -> bool:
    """Whether the folders at the top are splits."""
    splits = [name for name in tops if split_of(name)]
    others = [name for name in tops if not split_of(name)]
    if not splits:
        return False
    if not others:
        return True
    nested = any(names and names[0] == splits[0] and len(names) > 1 for names in parts)
    if strict and (len(splits) > 1 or nested):
        raise DataError(
            field, where,
            f"holds {_listed(splits)}, which are splits, beside {_listed(others)}, which are not",
            "give the splits a folder of their own, with one subfolder per class in each",
        )  # fmt: skip
    # Trains are a class of some data sets.
    logger.warning("%s: %s is read as a class, like %s", where, _listed(splits), _listed(others))
    return False


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
