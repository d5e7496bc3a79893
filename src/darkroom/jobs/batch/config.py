"""What every batch verb's config has: how rows are cut into pieces, and when to give up.

Imports neither ray nor torch nor pyarrow, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from darkroom.config import Fraction, JobConfig, PositiveInt, operational


class BatchConfig(JobConfig):
    """A streaming job whose progress is committed piece by piece."""

    limit: PositiveInt | None = None
    """A quick look: so many rows, drawn by the seed over all classes or subjects."""
    piece_rows: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Rows that are committed together. A killed run redoes at most the pieces in flight."""
    max_bad_share: Annotated[Fraction, operational()] = 0.1
    """Share of rejected rows above which the job stops with an error and publishes nothing."""
    max_restarts: Annotated[int, operational(ge=0, le=100)] = 3
    """Workers that one piece may cost before its rows are tried one at a time."""
    num_writers: Annotated[int, operational(ge=1, le=256)] = 2
    """Pieces written and committed at once."""
