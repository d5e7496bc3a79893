"""What feeds a rank, whichever ingest it is: a batch, and the stream that hands them out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.jobs.training.goodput import Stopwatch

NO_LABEL = -1


class StepRows(TypedDict, total=False):
    """What is known of one rank's rows of a step, whatever they hold; always there."""

    row: torch.Tensor
    """int64 (B,): `seeding.row_key` of each row's id."""
    epoch: torch.Tensor
    """int64 (B,): the epoch that each row is met in."""
    step: int
    """The optimizer step that it is for, 0-based."""
    first: int
    """Where its first row stands among the rows of all ranks."""


class Batch(StepRows, total=False):
    """One rank's rows of a step, as far as the verb asks for their columns.

    Every tensor and list holds a value for each row; the rest is the step's.
    """

    image: torch.Tensor
    """uint8 (B, C, H, W)."""
    label: torch.Tensor
    """int64 (B,); NO_LABEL where there is none."""
    caption: list[str | None]
    mean: torch.Tensor
    """Cached encodings in place of pictures: of the posterior, before the VAE's scale and shift,
    float32 (B, C, h, w)."""
    log_variance: torch.Tensor
    """float32 (B, C, h, w)."""
    sequence: torch.Tensor
    """Cached embeddings of the captions, float32 (B, T, D)."""
    pooled: torch.Tensor
    """float32 (B, P); absent where the network takes none."""
    size: tuple[int, int]
    """Height and width in pixels of the pictures whose encodings it holds."""


class BatchRows(Protocol):
    """Random access to a split's rows."""

    def fetch(
        self,
        rows: NDArray[np.int64],
        *,
        epoch: NDArray[np.int64] | None = None,
        step: int = 0,
        first: int = 0,
    ) -> Batch:
        """The rows as one batch; each in its epoch, or all in the first."""


def num_rows(batch: Batch) -> int:
    """How many rows a batch has."""
    return len(batch["row"])


def part(batch: Batch, first: int, last: int) -> Batch:
    """Rows `first` to `last` of a batch."""
    cut: Any = {
        name: value[first:last] if isinstance(value, torch.Tensor | list) else value
        for name, value in batch.items()
    }
    rows: Batch = cut
    rows["first"] += first
    return rows


def make_batch(
    images: NDArray[np.uint8],
    others: Mapping[str, Iterable[Any]],
    *,
    row: NDArray[np.int64],
    epoch: NDArray[np.int64],
    step: int = 0,
    first: int = 0,
) -> Batch:
    """A batch of its rows' columns."""
    batch: Batch = {
        "image": torch.from_numpy(images),
        "row": torch.from_numpy(row),
        "epoch": torch.from_numpy(epoch),
        "step": step,
        "first": first,
    }
    if "label" in others:
        labels = [NO_LABEL if label is None else label for label in others["label"]]
        batch["label"] = torch.tensor(labels, dtype=torch.int64)
    if "caption" in others:
        batch["caption"] = list(others["caption"])
    return batch


def no_rows(*, step: int, first: int) -> Batch:
    """The batch of a rank that has no row of a step."""
    none = torch.empty(0, dtype=torch.int64)
    return {"row": none, "epoch": none, "step": step, "first": first}


class TrainingStream(ABC):
    """An iterable of one rank's shares of the batches from `first_step` on.

    Lightning takes its length for the length of an epoch; here that is the whole run, which
    keeps its own epoch logic out of the data order.
    """

    def __init__(self, *, num_steps: int, stopwatch: Stopwatch | None = None) -> None:
        self._num_steps = num_steps
        self._stopwatch = stopwatch or Stopwatch()
        self.first_step = 0
        """Where a start begins; set before the first batch is taken."""
        self.first_epoch = 0
        """The epoch that the checkpoint lies in; a stream that can seek needs only the step."""
        self.wait_seconds = 0.0
        """Time that training has waited for batches."""

    def __len__(self) -> int:
        return self._num_steps

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    def largest_batch(self, at_once: int) -> Batch | None:
        """Rows for two passes of `at_once` that take as much memory as any; None where they are
        not known before they come."""
        return None

    @abstractmethod
    def epoch_at(self, step: int) -> int:
        """The epoch that a step starts in."""

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
