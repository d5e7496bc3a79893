"""Two ranks of gloo that fine-tune a tiny base under FSDP2: what a step computes, and no Ray.

    python -m tests.helpers.sharded_ranks FOLDER SCENARIOS

FOLDER holds the base as `base`. SCENARIOS is JSON, a list of `Scenario` values; the answer is JSON
on stdout, the losses of each. A process of its own, since it forks its ranks.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests.helpers.finetuning import batch_of, finetune_config
from tests.helpers.plain_torch import PlainTorch
from torch import Tensor

from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.training.checkpoint_state import read_state
from darkroom.jobs.training.memory_events import MicroBatchTooLargeError
from darkroom.jobs.training.plan import Batching
from darkroom.jobs.training.shard_files import write_shards
from darkroom.jobs.training.sharded_batches import ShardedMicroBatches
from darkroom.jobs.training.sharding import Sharding
from darkroom.jobs.training.training_stream import Batch, no_rows
from darkroom.models.families.base import load_base

BATCH_SIZE = 5
"""Two ranks cannot have equal shares of it."""
STATE = "state.ckpt"


@dataclass(frozen=True)
class Scenario:
    """Which ranks train, from where to where."""

    changes: dict[str, Any] = field(default_factory=dict)
    """Of the config."""
    num_ranks: int = 2
    sharded: bool = True
    micro_batch_size: int = BATCH_SIZE
    steps: tuple[int, int] = (0, 4)
    begin_from: str | None = None
    """A folder that another scenario saved to."""
    save_at: int | None = None
    """Before this step, to `save_to`."""
    save_to: str = "saved"
    short_step: int | None = None
    """One that has a single row, so none for the second rank."""
    full_rank: int | None = None
    """Whose memory does not suffice for more than two rows."""


class Module(PlainTorch, FinetuneModule):
    """The real module with plain torch in Lightning's place."""

    is_full = False

    def configured(self) -> Module:
        """Once its parameters are what they stay."""
        self.set_up_optimizer()
        return self

    def training_losses(self, batch: Batch) -> Tensor:
        losses = super().training_losses(batch)
        if self.is_full and len(losses) > 2:
            raise torch.OutOfMemoryError("injected")
        return losses

    def state(self) -> dict[str, Any]:
        """As Lightning's checkpoint."""
        state: dict[str, Any] = {
            "state_dict": dict(self.state_dict()),
            "optimizer_states": [self.adamw.state_dict()],
        }
        self.on_save_checkpoint(state)
        return state

    def load(self, state: dict[str, Any]) -> None:
        """As Lightning restores it."""
        self.on_load_checkpoint(state)
        self.load_state_dict(state["state_dict"])
        self.adamw.load_state_dict(state["optimizer_states"][0])


def train(folder: Path, scenario: Scenario, rank: int) -> dict[str, Any]:
    """One rank's run: its losses, and what ended it."""
    base = folder / "base"
    config = finetune_config(base, batch_size=BATCH_SIZE, **scenario.changes)
    torch.manual_seed(0)
    module = Module(config, load_base(base, field="base", name="base"))
    sharding = None
    if scenario.sharded:
        mixed = config.compute.precision == "bfloat16"
        sharding = Sharding(torch.device("cpu"), mixed=mixed)
        module.micro_batches = ShardedMicroBatches(scenario.micro_batch_size, batch_size=BATCH_SIZE)
    module.micro_batches.size = scenario.micro_batch_size
    module.is_full = rank == scenario.full_rank
    module.prepare(sharding)
    module.configured().train()
    module.on_fit_start()
    if scenario.begin_from is not None:
        file = folder / scenario.begin_from / STATE
        module.load(read_state(file, empty=None if sharding is None else sharding.empty))
    losses, norms, ended = [], [], None
    try:
        for step in range(*scenario.steps):
            if step == scenario.save_at:
                save(module, folder / scenario.save_to, rank)
            batch = rows_of(step, scenario, rank)
            losses.append(float(module.training_step(batch, 0)["loss_sum"]) / BATCH_SIZE)
            norms.append(float(module.grad_norm))
            module.update_ema()
    except MicroBatchTooLargeError as error:
        ended = asdict(error.event)
    with module.averaged(), torch.no_grad():
        batch = batch_of(2)
        validated = float(module.validation_losses(batch, 0).sum()) if ended is None else None
    return {"losses": losses, "norms": norms, "ended": ended, "validated": validated}


def rows_of(step: int, scenario: Scenario, rank: int) -> Batch:
    """A rank's share of a step."""
    num_rows = 1 if step == scenario.short_step else BATCH_SIZE
    batching = Batching(num_rows, scenario.num_ranks, rank)
    if not batching.size:
        return no_rows(step=step, first=batching.first)
    batch = batch_of(batching.size, first=batching.first, epoch=step)
    return batch | {"step": step, "first": batching.first}


def save(module: Module, folder: Path, rank: int) -> None:
    """Each rank its shares, the first the rest."""
    folder.mkdir(exist_ok=True)
    rest = write_shards(module.state(), folder)
    if rank == 0:
        torch.save(rest, folder / STATE)


def _rank(folder: Path, scenario: Scenario, rank: int, store: str, answer: Any) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if scenario.num_ranks > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=scenario.num_ranks
        )
    answer.put((rank, train(folder, scenario, rank)))


def _together(folder: Path, scenario: Scenario) -> dict[str, Any]:
    fork = multiprocessing.get_context("fork")
    answer: Any = fork.Queue()
    with tempfile.TemporaryDirectory() as place:
        ranks = [
            fork.Process(target=_rank, args=(folder, scenario, rank, f"{place}/store", answer))
            for rank in range(scenario.num_ranks)
        ]
        for process in ranks:
            process.start()
        # A rank that another has left waits for ever.
        wanted = 1 if scenario.full_rank is not None else scenario.num_ranks
        found = dict(answer.get(timeout=300) for _ in range(wanted))
        for process in ranks:
            if scenario.full_rank is not None:
                process.kill()
            process.join()
    results = [found[rank] for rank in sorted(found)]
    return {
        **results[0],
        "losses": [sum(losses) for losses in zip(*(r["losses"] for r in results), strict=True)],
    }


def run(folder: Path, scenarios: list[Scenario]) -> list[dict[str, Any]]:
    """The results, from a process of its own."""
    asked = json.dumps([asdict(scenario) for scenario in scenarios])
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.sharded_ranks", str(folder), asked],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


if __name__ == "__main__":
    scenarios = [Scenario(**value) for value in json.loads(sys.argv[2])]
    sys.stdout.write(json.dumps([_together(Path(sys.argv[1]), each) for each in scenarios]))
