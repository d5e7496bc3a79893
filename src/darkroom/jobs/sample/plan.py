"""Which picture gets which class or prompt, and which id: decided before anything is drawn.

A plan is a pure function of the config and the model's classes. It knows nothing of workers
and batches, which is why they cannot change the pictures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import cycle

import pyarrow as pa

from darkroom.config import closest
from darkroom.errors import ConfigError

PLAN_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int64()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
        ("prompt", pa.string()),
        ("in_strip", pa.bool_()),
    ]
)


def resolve_classes(wanted: Sequence[str] | None, classes: Sequence[str]) -> list[int]:
    """Indices into `classes` of what was asked for, in the order asked; None asks for all.

    Each text is a class's name, else an index, else several of them between commas.
    Errors: ConfigError naming the closest class.
    """
    if wanted is None:
        return list(range(len(classes)))
    return [index for text in wanted for index in _resolve(text, classes)]


def plan_images(
    total: int, labels: Sequence[int], classes: Sequence[str], *, strip: bool = False
) -> pa.Table:
    """`total` pictures that take the classes of `labels` in turn; no labels, no classes.

    With `strip`, the first picture of each class keeps its intermediates. Ids sort by index, and
    are safe in a file name.
    """
    turn: Sequence[int | None] = labels or (None,)
    rows = [
        {
            "id": f"{index:06d}" if label is None else f"{index:06d}-{slug(classes[label])}",
            "index": index,
            "label": label,
            "class_name": None if label is None else classes[label],
            "in_strip": strip and turn.index(label) == index,
        }
        for index, label in zip(range(total), cycle(turn), strict=False)
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def plan_prompts(total: int, prompts: Sequence[str]) -> pa.Table:
    """`total` pictures that take the prompts in turn."""
    rows = [
        {"id": f"{index:06d}-{slug(prompt)}", "index": index, "prompt": prompt, "in_strip": False}
        for index, prompt in zip(range(total), cycle(prompts), strict=False)
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def slug(text: str) -> str:
    """A class name or prompt as a part of a file name: letters and digits of any script, dot, dash;
    at most 40.
    """
    kept = (c if c in ".-" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return "_".join("".join(kept).split()).strip("._")[:40] or "class"


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
