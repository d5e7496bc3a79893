"""What feeds a rank, whichever ingest it is: a batch, and the stream that hands them out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import torch

from darkroom.jobs.training.ledger import Stopwatch


class Batch(TypedDict):
    """One rank's micro-batch: images uint8 (B, C, H, W), labels int64 (B,), where it stands."""

    image: torch.Tensor
    label: torch.Tensor
    micro_step: int


class TrainingStream(ABC):
    """An iterable of one rank's micro-batches from `first_micro_step` on.

    Lightning takes its length for the length of an epoch; here that is the whole run, which
    keeps its own epoch logic out of the data order.
    """

    def __init__(self, *, num_micro_steps: int, stopwatch: Stopwatch | None = None) -> None:
        self._num_micro_steps = num_micro_steps
        self._stopwatch = stopwatch or Stopwatch()
        self.first_micro_step = 0
        """Where a start begins; set before the first batch is taken."""
        self.first_epoch = 0
        """The epoch that the checkpoint lies in; a stream that can seek needs only the step."""
        self.wait_seconds = 0.0
        """Time that training has waited for batches."""

    def __len__(self) -> int:
        return self._num_micro_steps

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    @abstractmethod
    def epoch_at(self, micro_step: int) -> int:
        """The epoch that a micro-batch starts in."""

    # Lightning takes a loader that has these for resumable; the position is the checkpoint's.
    def state_dict(self) -> dict[str, Any]:
        """Nothing: the checkpoint says where the stream is."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Nothing to restore."""

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Around a wait for the next batch."""
        started = time.perf_counter()
        with self._stopwatch.measuring("data_wait"):
            yield
        self.wait_seconds += time.perf_counter() - started
