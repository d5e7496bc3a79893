"""Pairs of pictures of one prompt or class, whose distance is how varied a model draws.

A pair is known to the row of its first picture, by where the second one lies; both are read where
the first is, and only their distance is committed: the layers that it is made of are too large to
keep. Each picture belongs to one pair at most, so pairs are independent of each other.

Published pictures are paired in their order, whose seeds differ, so that a piece reads few row
groups twice. Files of a folder lie in the order of their names, which may be one of looks: they are
shuffled by the seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.jobs.batch.picture_rows import LOCATION
from darkroom.jobs.measuring.comparison import AGAINST, CLASS, GENERATED, LABEL, PROMPT, SET, TEST

PARTNER = "partner"
"""Column of the rows: where the second picture of the pair lies; null where there is none."""


def has_pairs(drawn: pa.Table) -> bool:
    """Whether any two of these pictures are of one prompt, or of one class."""
    asked = drawn[PROMPT if _have_prompts(drawn) else CLASS].to_pylist()
    return any(len(members) > 1 for members in _groups(asked, range(len(drawn))))


def with_partners(rows: pa.Table, *, folders: Collection[str], seed: int) -> pa.Table:
    """The rows with the column `PARTNER`: pairs among the drawn and among the test pictures.

    folders: sets whose pictures are files of a folder.
    """
    sets = np.array(rows[SET].to_pylist())
    by_prompt = _have_prompts(rows.filter(pa.array(sets == GENERATED)))
    partner = np.full(len(rows), -1)
    for name in (GENERATED, AGAINST, TEST):
        of_set = np.flatnonzero(sets == name)
        if name in folders:
            of_set = np.random.default_rng(seed).permutation(of_set)
        by_class = LABEL if name == TEST else CLASS
        asked = rows[PROMPT if by_prompt else by_class].to_pylist()
        for members in _groups(asked, of_set):
            whole = members[: len(members) // 2 * 2]
            partner[whole[::2]] = whole[1::2]
    located = rows.select([name for name, _ in LOCATION]).to_struct_array().combine_chunks()
    taken = located.take(pa.array(partner, mask=partner < 0))
    return rows.append_column(PARTNER, taken)


def _have_prompts(drawn: pa.Table) -> bool:
    """All of them: else it is the class that a picture was to show."""
    return not drawn[PROMPT].null_count


def _groups(asked: Sequence[Any], of_set: Any) -> Iterator[NDArray[np.int64]]:
    """Indices of rows that were asked for the same, each in the order of `of_set`."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for at in of_set:
        if asked[at] is not None:
            groups[asked[at]].append(at)
    return (np.array(members) for members in groups.values())
