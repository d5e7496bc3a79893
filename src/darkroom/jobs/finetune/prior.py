"""Prior preservation: with each row of a step comes one of the class's own pictures.

Which one is a pure function of the step and the row's place in its batch, as for the rows
themselves (`training/plan.py`): neither workers nor micro-batches nor a resume change it.
"""

from __future__ import annotations

import numpy as np
import torch

from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.stream import DataRows
from darkroom.jobs.training.training_stream import Batch, num_rows

_COLUMNS = ("image", "caption")
_KEY = row_key("prior_preservation")


class PriorRows:
    """The rows that come with a batch."""

    def __init__(self, prior: TrainingData, config: FinetuneConfig) -> None:
        self._plan = DataPlan(
            prior.dataset.row_groups("train"),
            seed=config.seed,
            shuffle_window=config.data.shuffle_window,
            batching=Batching(config.batch_size),
            order=config.data.order,
        )
        self._rows = DataRows(prior, self._plan, _COLUMNS, cache_bytes=config.data.cache_bytes)

    def with_prior(self, batch: Batch) -> Batch:
        """B rows of a step, and behind them as many of the class; on the batch's device."""
        step, first, rows = batch["step"], batch["first"], num_rows(batch)
        places = slice(first, first + rows)
        prior = self._rows.fetch(
            np.asarray(self._plan.rows(step)[places]), epoch=self._plan.epochs(step)[places]
        )
        both: Batch = {
            **batch,
            # A key of its own, should both have rows of one id.
            "row": _joined(batch["row"], prior["row"] ^ _KEY),
            "epoch": _joined(batch["epoch"], prior["epoch"]),
            "image": _joined(batch["image"], prior["image"]),
            "caption": [*batch["caption"], *prior["caption"]],
        }
        return both


def _joined(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cat((a, b.to(a.device)))
