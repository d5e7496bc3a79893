"""The rows of a split whose encodings are cached: the dataset's, in its order.

Both artifacts have their rows by id. A row that the cache has not (its encoding was not finite, it
has no caption, or the cache was made of a part) is in no plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from darkroom.errors import DataError
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.latents import Latents
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.artifacts.split_rows import SIZE_COLUMNS, SplitRows
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.plan import RankPlan, Rows
from darkroom.jobs.training.row_source import RowSource, Sizes

if TYPE_CHECKING:
    from darkroom.jobs.training.training_stream import BatchRows

_COLUMNS = ("id", *SIZE_COLUMNS)


@dataclass(frozen=True)
class LatentSource(RowSource):
    """Cached encodings of a split."""

    latents: Latents
    split: Split
    places: Rows
    """Where each row lies among the split's rows in the cache, (N,)."""
    row_sizes: Sizes | None
    num_missing: int
    """Rows of the dataset that are not in the cache."""

    @classmethod
    def of(
        cls, latents: Latents, data: TrainingData, split: Split, limit: int | None, *, field: str
    ) -> LatentSource:
        """Find the rows of the dataset in the cache; ids and sizes are read, and nothing else.

        Errors: DataError naming `field` where the two have a picture in different sizes.
        """
        # Readers of their own: an opened one cannot travel to the workers.
        dataset = Dataset(data.dataset.artifact, data.dataset.info)
        cached = Latents(latents.artifact, latents.info)
        held = _held(cached, split)
        groups, places, sizes, missing = [], [], [], 0
        for group in dataset.row_groups(split, limit):
            found = [(row, held.get(row[0])) for row in _rows(dataset, group)]
            kept = [(row, at) for row, at in found if at is not None]
            missing += len(found) - len(kept)
            for (row_id, *size), (place, *cached_size) in kept:
                if size != cached_size:
                    raise DataError(
                        field, str(latents.artifact.uri),
                        f"has {row_id} in {_shown(cached_size)}, and the data in {_shown(size)}",
                        "encode these data with `darkroom cache`",
                    )  # fmt: skip
                places.append(place)
                sizes.append(size)
            if kept:
                groups.append(replace(group, num_rows=len(kept)))
        return cls(
            tuple(groups), latents, split, np.array(places, np.int64),
            None if data.shape_of_all is not None else np.array(sizes, np.int64).reshape(-1, 2),
            missing,
        )  # fmt: skip

    @property
    def num_rows(self) -> int:
        """Of those that are trained on."""
        return len(self.places)

    def sizes(self) -> Sizes | None:
        """As the dataset has them."""
        return self.row_sizes

    def reader(self, plan: RankPlan, *, seed: int | None, cache_bytes: int) -> BatchRows:
        """Posteriors, embeddings and captions."""
        from darkroom.jobs.training.latent_rows import LatentRows

        latents = Latents(self.latents.artifact, self.latents.info)
        groups = latents.row_groups(self.split)
        fits = sum(entry.size for entry in latents.files(self.split)) <= cache_bytes
        # A batch may straddle two windows, and each of them draws on all of its groups.
        kept = len(groups) if fits else 2 * plan.shuffle_window * self._groups_of_one(groups)
        return LatentRows(latents, groups, self.places, seed=seed, groups_kept=kept)

    def window_bytes(self, shuffle_window: int) -> int:
        """About what a worker keeps in memory of the cache: two windows of rows, or all."""
        largest = sorted((group.num_rows for group in self.groups), reverse=True)
        files = self.latents.files(self.split)
        rows = sum(entry.rows or 0 for entry in files)
        share = min(1.0, 2 * sum(largest[:shuffle_window]) / max(1, rows))
        return int(share * sum(entry.size for entry in files))

    def _groups_of_one(self, groups: Sequence[RowGroup]) -> int:
        """Row groups of the cache that rows of one of the dataset's lie in, at most."""
        ends = np.cumsum([group.num_rows for group in groups])
        of_row = np.searchsorted(ends, self.places, side="right")
        bounds = np.cumsum([group.num_rows for group in self.groups])[:-1]
        return max(len(np.unique(some)) for some in np.split(of_row, bounds))


def _held(latents: Latents, split: Split) -> Mapping[str, tuple[int, int, int]]:
    """Of each row by its id: place, height, width."""
    rows = [row for group in latents.row_groups(split) for row in _rows(latents, group)]
    return {row_id: (place, height, width) for place, (row_id, height, width) in enumerate(rows)}


def _rows(rows: SplitRows, group: RowGroup) -> list[tuple[str, int, int]]:
    table = rows.reader.read(group, _COLUMNS)
    return list(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True))


def _shown(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]} (height x width)"
