"""Ranks that train a tiny U-Net together, without Ray: what a step computes, and nothing around it.

    python -m tests.helpers.ranks SCENARIOS

SCENARIOS is JSON, a list of `Scenario` values; the answer is JSON on stdout, a `Result` for each.
A process of its own: it forks its ranks, which is safe only where torch has not worked before.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from tests.helpers.plain_torch import PlainTorch
from torch import Tensor

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.artifacts.row_groups import RowGroup
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.module import DiffusionModule
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.seeding import row_key
from darkroom.jobs.training.training_stream import Batch, make_batch, num_rows, part

BATCH_SIZE, NUM_ROWS = 32, 75
CONFIG: dict[str, Any] = {
    "input": "unused",
    "output": "unused",
    "batch_size": BATCH_SIZE,
    "unet": {
        "block_out_channels": [8, 8],
        "layers_per_block": 1,
        "attention_resolutions": [4],
        "norm_num_groups": 8,
    },
    "optimizer": {"learning_rate": 2e-3},
    "lr_schedule": {"warmup_steps": 0},
    "data": {"horizontal_flip": True},
}


@dataclass(frozen=True)
class Scenario:
    """Which ranks train, and whose memory does not suffice from when on."""

    num_ranks: int = 1
    num_steps: int = 6
    micro_batch_size: int = BATCH_SIZE
    full_rank: int | None = None
    full_from_step: int = 0
    most_rows: int = BATCH_SIZE
    """What then fits into its memory."""
    late: bool = False
    """Memory ends in the last micro-batch of the step, not the first."""
    probes: bool = False
    """Each rank tries its first rows before the first step."""


@dataclass(frozen=True)
class Result:
    """What one scenario ended in."""

    losses: list[float]
    """Mean over all rows of each step."""
    sizes: list[int]
    """The micro-batch that each rank ends with."""
    events: list[dict[str, int]]
    """Rank 0's."""
    errors: list[str]


class Module(PlainTorch, DiffusionModule):
    """The real module with plain torch in Lightning's place, and memory that ends on request."""

    def __init__(self, config: TrainConfig, scenario: Scenario, rank: int) -> None:
        super().__init__(config, ImageShape(8, 8, 1), 10)
        self.scenario, self.rank = scenario, rank
        self.prepare()
        self.micro_batches.size = scenario.micro_batch_size
        self.set_up_optimizer()

    def training_losses(self, batch: Batch) -> Tensor:
        losses = super().training_losses(batch)
        last = Batching(BATCH_SIZE, self.scenario.num_ranks, self.rank)
        is_due = not self.scenario.late or batch["first"] + len(losses) == last.first + last.size
        if (
            self.rank == self.scenario.full_rank
            and batch["step"] >= self.scenario.full_from_step
            and len(losses) > self.scenario.most_rows
            and is_due
        ):
            raise torch.OutOfMemoryError("injected")
        return losses


def batches(scenario: Scenario, rank: int) -> list[Batch]:
    """This rank's."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (NUM_ROWS, 1, 8, 8), dtype=np.uint8)
    keys = np.array([row_key(f"row-{row}") for row in range(NUM_ROWS)])
    batching = Batching(BATCH_SIZE, scenario.num_ranks, rank)
    plan = DataPlan([RowGroup("rows", 0, NUM_ROWS)], seed=0, shuffle_window=1, batching=batching)
    return [
        make_batch(
            images[rows], {"label": rows % 10}, row=keys[rows], epoch=plan.epochs(step),
            step=step, first=batching.first,
        )
        for step in range(scenario.num_steps)
        for rows in [plan.rows(step)]
    ]  # fmt: skip


def train(scenario: Scenario, rank: int) -> Result:
    """One rank's run; its losses are rank 0's to sum."""
    torch.manual_seed(0)
    module = Module(build_config(TrainConfig, CONFIG), scenario, rank)
    losses, errors = [], []
    try:
        due = batches(scenario, rank)
        if scenario.probes:
            module.probe_memory(lambda at_once: part(due[0], 0, 2 * at_once))
        for batch in due:
            loss = module.training_step(batch, 0)["loss_sum"]
            losses.append(float(loss) / BATCH_SIZE)
            assert num_rows(batch) == len(batch["image"])
    except ConfigError as error:
        errors = [str(error)]
    events = [asdict(event) for event in module.micro_batches.events]
    return Result(losses, [module.micro_batches.size], events, errors)


def _rank(scenario: Scenario, rank: int, store: str, answer: Any) -> None:
    if scenario.num_ranks > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=scenario.num_ranks
        )
    answer.put((rank, train(scenario, rank)))


def _together(scenario: Scenario) -> Result:
    fork = multiprocessing.get_context("fork")
    answer: Any = fork.Queue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            fork.Process(target=_rank, args=(scenario, rank, f"{folder}/store", answer))
            for rank in range(scenario.num_ranks)
        ]
        for process in ranks:
            process.start()
        found = dict(answer.get(timeout=300) for _ in ranks)
        for process in ranks:
            process.join()
    results = [found[rank] for rank in range(scenario.num_ranks)]
    return Result(
        [sum(losses) for losses in zip(*(each.losses for each in results), strict=True)],
        [size for each in results for size in each.sizes],
        results[0].events,
        [error for each in results for error in each.errors],
    )


def run(scenarios: list[Scenario]) -> list[Result]:
    """The results, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.ranks", json.dumps([asdict(s) for s in scenarios])],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [Result(**value) for value in json.loads(done.stdout)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    asked = [Scenario(**value) for value in json.loads(sys.argv[1])]
    sys.stdout.write(json.dumps([asdict(_together(scenario)) for scenario in asked]))
