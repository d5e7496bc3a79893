"""Random access to the rows of some row groups: the last few groups that were read are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from darkroom.jobs.artifacts.row_groups import RowGroup, RowGroupReader, starts_of

if TYPE_CHECKING:
    import pyarrow as pa


class KeptGroups:
    """Row groups whose rows are numbered through, in the order given."""

    def __init__(
        self,
        reader: RowGroupReader,
        groups: Sequence[RowGroup],
        *,
        columns: Sequence[str] | None = None,
        num_kept: int,
    ) -> None:
        """columns: by default all. num_kept: how many groups stay in memory."""
        self._reader, self._groups, self._columns = reader, groups, columns
        self._num_kept = num_kept
        self._starts = starts_of(groups)
        self.tables: OrderedDict[int, pa.Table] = OrderedDict()
        """Those that are kept, by the group's number, the last used at the end."""

    def find(self, row: int) -> tuple[pa.Table, int]:
        """The row's group, read if it is not kept, and where in it the row stands."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if number not in self.tables:
            self.tables[number] = self._reader.read(self._groups[number], self._columns)
            if len(self.tables) > self._num_kept:
                self.tables.popitem(last=False)
        self.tables.move_to_end(number)
        return self.tables[number], row - int(self._starts[number])
