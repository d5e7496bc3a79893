"""The loops by hand, of `train` or of `finetune`, on the ranks that torchrun started.

    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.launched_loop \
      WAY VERB CONFIG RESULT

WAY is `ddp`, DistributedDataParallel on gloo, or `accelerate`, as diffusers' examples have it:
`Accelerator.prepare`, `backward`, `clip_grad_norm_`. (`accelerate launch` starts several processes
by torchrun where there are GPUs, and on CPUs by MPI alone.) VERB says what CONFIG, JSON, is of.
RESULT gets what `bare_loop.py` writes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from benchmarks import bare_loop, finetune_loop
from benchmarks.by_hand import LoopByHand

from darkroom.config import build_config
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.train.config import TrainConfig
from darkroom.storage import open_artifact


def build_loop(verb: str, values: dict[str, Any], *, rank: int, world: int) -> LoopByHand:
    """The loop of one rank, not yet told of the others."""
    if verb == "train":
        config = build_config(TrainConfig, values)
        rows = bare_loop.load_rows(open_artifact(config.input, kind="dataset"))
        return bare_loop.Loop(config, rows, rank=rank, world=world)
    settings = build_config(FinetuneConfig, values)
    captioned = finetune_loop.Captioned.of(open_artifact(settings.input, kind="dataset"))
    return finetune_loop.Loop(settings, captioned, rank=rank, world=world)


def main() -> None:
    way, verb, config_file, result_file = sys.argv[1:]
    values: dict[str, Any] = json.loads(Path(config_file).read_text())
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(values["compute"]["num_threads"])
    torch.use_deterministic_algorithms(values["compute"]["deterministic"])
    # Split, so that the schedule of the learning rate moves once a step, as with the others.
    accelerator = Accelerator(cpu=True, split_batches=True) if way == "accelerate" else None
    if accelerator is None:
        dist.init_process_group("gloo")
    loop = build_loop(verb, values, rank=rank, world=world)
    if accelerator is not None:
        loop.accelerate(accelerator)
    elif world > 1:
        loop.distribute()
    found = loop.run()
    if rank == 0:
        Path(result_file).write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
