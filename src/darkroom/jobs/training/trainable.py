"""What a verb brings to training. Everything else is this room's, for every verb alike.

A `Trainable` is a small value that the driver, Ray Train's controller and the workers hold: the
config, and how to make the network, its loss and its published form from it. Its module is loaded
by all of them, so what takes seconds to import stands inside `build` and `export`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from darkroom.jobs.artifacts.model import TrainedInfo
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.row_source import PictureRowSource, RowSource
from darkroom.storage import Parent

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.jobs.training.module import TrainedModule

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)

OnRow = Callable[[Mapping[str, Any]], str | None]
"""Sees a row of the metrics log, in order; returns a reason to stop, or None.

A validated step's row comes twice, the second time with its validation loss. Steps that are done
again after a fault bring their rows again.
"""


def ignore_row(_row: Mapping[str, Any]) -> None:
    """For whoever needs no rows."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What training made, for its export."""

    weights: Mapping[str, Tensor]
    """The averaged weights of what was trained, by the module's own names, on the CPU."""
    step: int
    seconds: float
    final: Mapping[str, float | None]
    """The last value of loss, validation_loss, images_per_second and data_wait_share."""


class Trainable(ABC, Generic[ConfigT]):
    """One run of one verb."""

    verb: ClassVar[str]
    """Its name, on the progress bar."""
    info: ClassVar[type[TrainedInfo]]
    """What the model's manifest says of it."""
    can_shard: ClassVar[bool] = False
    """Whether its module names networks that FSDP2 may share out."""
    network_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of the config, dotted, that shape the network: where one differs, a run cannot start
    from the other's checkpoint."""

    takes_buckets: ClassVar[bool] = False
    """Whether pictures may have one of several sizes."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that a batch holds: image, label, caption."""
        return ("image", "label")

    def parents(self) -> Sequence[Parent]:
        """What the model is made of besides the data: a base model."""
        return ()

    def check(self, data: TrainingData) -> None:
        """Refuse what cannot be trained, before anything is written. Errors: InputError."""

    def remarks(self, data: TrainingData) -> Iterator[str]:
        """What the data make of settings that were not chosen for them."""
        yield from ()

    def source(self, data: TrainingData, split: Split, limit: int | None) -> RowSource:
        """The rows of a split, at most so many; by default pictures, with `columns`."""
        return PictureRowSource.of(data, split, limit, columns=self.columns)

    @abstractmethod
    def build(self, data: TrainingData) -> TrainedModule:
        """The module as training starts. torch is seeded; a worker calls it once per start."""

    @abstractmethod
    def export(self, data: TrainingData, result: TrainingResult, folder: Path) -> TrainedInfo:
        """Write the model's files into `folder`; returns an `info` of them.

        Runs in a Ray task with a worker's resources, on the CPU.
        """
