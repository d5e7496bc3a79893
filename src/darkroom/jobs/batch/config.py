"""What every batch verb's config has: how rows are cut into pieces, when to give up, worker pools.

Imports neither ray nor torch nor pyarrow, so the command line can print and check it at once.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from darkroom.config import Config, Fraction, JobConfig, PositiveInt, operational
from darkroom.jobs.reservation import reserved_cpus

PieceRows = Annotated[int, Field(ge=1, le=65_536)]


class BatchConfig(JobConfig):
    """A streaming job whose progress is committed piece by piece."""

    limit: PositiveInt | None = None
    """A quick look: so many rows, drawn by the seed over all classes or subjects."""
    piece_rows: PieceRows = 256
    """Rows that are committed together. A killed run redoes at most the pieces in flight."""
    max_bad_share: Annotated[Fraction, operational()] = 0.5
    """Share of rejected rows above which the job stops: its input is wrong, not some rows of it."""
    max_restarts: Annotated[int, operational(ge=0, le=100)] = 3
    """Workers that one piece may cost before its rows are tried one at a time."""


class WorkerPool(Config):
    """Workers of one kind, each a process of its own; Ray reserves their CPUs and GPUs."""

    num_workers: Annotated[int, operational(ge=1, le=4096)] = 1
    """Workers at once."""
    num_cpus: Annotated[float | None, operational(ge=0, le=256, allow_inf_nan=False)] = None
    """CPUs that Ray reserves per worker; null is 1, or 0 beside a GPU."""
    num_gpus: Annotated[float, operational(ge=0, le=64, allow_inf_nan=False)] = 0.0
    """GPUs per worker. A fraction shares one, and caps the worker's share of its memory."""

    @property
    def reserved_cpus(self) -> float:
        """CPUs of a worker."""
        return reserved_cpus(self.num_cpus, self.num_gpus)

    @model_validator(mode="after")
    def _check_resources(self) -> Self:
        if self.num_gpus > 1 and not float(self.num_gpus).is_integer():
            raise ValueError("num_gpus above 1 must be whole; use a fraction below 1 to share")
        if not self.num_gpus and self.num_cpus == 0:
            raise ValueError("num_cpus and num_gpus are both 0; a worker needs one of them")
        return self
