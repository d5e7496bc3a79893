"""A step of `darkroom train` and `darkroom finetune` beside the same step under torchrun.

    python -m benchmarks.peers_train [--rounds 5] [--quick] [--workers 2] [--only LoRA]

Pixels: the U-Net of the recipe `digits`, on real digits. LoRA: a tiny Stable Diffusion and real
photographs with captions. Ours is the command, with `workers.num_workers` Ray workers. The peers
are loops over the same diffusers modules on as many ranks of torchrun (`launched_loop.py`): plain
DistributedDataParallel on gloo, and accelerate as diffusers' examples use it. All have the same
batch over all ranks, AdamW, clipping, average, deterministic kernels and one thread a rank.

The ratio is the peer's time of a step over ours: above 1, ours is faster. A step's time is the mean
after a warm-up, so no start-up is in it. What the peers leave out: rows that are read and decoded
as they come from S3, draws for each row that do not depend on the number of workers, norms of
blocks and memory in the log, a pointer and a heartbeat, signals, checkpoints from which a run goes
on at the very row, and the Ray beside them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.cpu_split import cpu_split
from benchmarks.digits_run import BUCKET, Digits, prepared_digits
from benchmarks.interleaved import Arm, Report, after_each_round, arguments
from benchmarks.train import (
    LOG_EVERY,
    MEASURED_STEPS,
    QUICK_STEPS,
    RUN_SECONDS,
    WARM_UP_STEPS,
    logged_seconds,
    steady,
)
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.tiny_families import save_tiny
from tests.helpers.training import pointer_of, running

from darkroom.config import build_config
from darkroom.jobs.finetune.config import FinetuneConfig
from darkroom.jobs.training.config import TrainingConfig
from darkroom.storage import open_artifact

OURS = "darkroom"
PEERS = {"torchrun": "ddp", "accelerate": "accelerate"}
"""The peer -> the way of `launched_loop.py`."""
LORA_PIXELS, LORA_BATCH_SIZE = 32, 8


def run_settings(num_workers: int, num_steps: int) -> dict[str, Any]:
    """What both works have alike: no interval of the log holds a validation or a checkpoint."""
    max_steps = WARM_UP_STEPS + num_steps
    return {
        "max_steps": max_steps, "log_every_steps": LOG_EVERY,
        "lr_schedule": {"warmup_steps": WARM_UP_STEPS}, "validation": {"every_steps": max_steps},
        "checkpoint": {"every_steps": None}, "compute": {"num_threads": 1, "deterministic": True},
        "workers": {"num_workers": num_workers},
    }  # fmt: skip


def lora_config(digits: Digits, **settings: Any) -> FinetuneConfig:
    """A run's; the base and the photographs are there."""
    values: dict[str, Any] = {
        **settings, "base": str(digits.folder / "base"), "input": f"s3://{BUCKET}/captioned",
        "output": digits.config().output, "batch_size": LORA_BATCH_SIZE, "method": "lora",
        "lora": {"rank": 4}, "objective": {"caption_dropout": 0.0},
    }  # fmt: skip
    values["validation"] = {**values["validation"], "num_images": LORA_BATCH_SIZE}
    return build_config(FinetuneConfig, values)


class Comparison:
    """The sides of one verb's step."""

    def __init__(
        self, verb: str, digits: Digits, config: Callable[[], TrainingConfig], num_workers: int
    ) -> None:
        self._verb, self._digits, self._config = verb, digits, config
        self._num_workers = num_workers
        self.processor_seconds: defaultdict[str, list[float]] = defaultdict(list)
        """Of a step, over all ranks."""

    def arms(self) -> dict[str, Arm]:
        """Ours and the peers'."""
        peers: dict[str, Arm] = {name: partial(self._peer, name) for name in PEERS}
        return {OURS: self._ours, **peers}

    def _ours(self) -> float:
        config = self._config()
        with running(self._verb, config.to_dict(), self._digits.folder) as run:
            assert run.wait() == 0, run.log.read_text()[-4000:]
        log = open_artifact(config.output).read_table("metrics.parquet")
        return steady(logged_seconds(log["images_per_second"].to_pylist(), config.batch_size))

    def _peer(self, name: str) -> float:
        folder = self._digits.folder
        config_file, result_file = folder / "loop.json", folder / "found.json"
        config_file.write_text(json.dumps(self._config().to_dict()))
        subprocess.run(
            [
                sys.executable, "-m", "torch.distributed.run", "--standalone",
                f"--nproc-per-node={self._num_workers}", "-m", "benchmarks.launched_loop",
                PEERS[name], self._verb, str(config_file), str(result_file),
            ],
            check=True, timeout=RUN_SECONDS, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        found = json.loads(result_file.read_text())
        used = steady(found["processor_seconds"]) * self._num_workers
        self.processor_seconds[name].append(used)
        return steady(found["seconds"])

    def cores(self) -> dict[str, float]:
        """Which processes of one more run of ours take how many cores while it trains."""
        config = self._config()

        def trained() -> bool:
            state = pointer_of(config.output)
            return state is not None and state.step == config.max_steps

        with running(self._verb, config.to_dict(), self._digits.folder) as run:
            return cpu_split(run, "started at step", trained)


def compare(what: str, comparison: Comparison, report: Report, *, num_rounds: int) -> None:
    """A row for each peer; then the processor seconds of a step."""
    for timings in after_each_round(comparison.arms(), num_rounds=num_rounds, num_warmups=0):
        cores, seconds = comparison.cores(), statistics.median(timings.seconds[OURS])
        used = comparison.processor_seconds
        report.details[what] = {
            "step_seconds": timings.seconds,
            "processor_seconds": {
                OURS: sum(cores.values()) * seconds,
                f"{OURS}, its workers alone": cores["ray::RayTrainWorker"] * seconds,
                **{way: statistics.median(each) for way, each in used.items()},
            },
            "cores_by_process": cores,
        }
        for name in PEERS:
            report.add(f"{name}'s time / ours: {what}", timings.ratio(name, OURS))


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["pixels", "LoRA"], action="append")
    given = parser.parse_args()
    steps = QUICK_STEPS if given.quick else MEASURED_STEPS
    report = Report("peers_train", details={"measured_steps": steps, "workers": given.workers})
    settings = run_settings(given.workers, steps)
    with prepared_digits() as digits:
        save_tiny("sd", digits.folder / "base")
        publish_captioned(f"s3://{BUCKET}/captioned", side=LORA_PIXELS, num_each=32)
        works: dict[str, tuple[str, Callable[[], TrainingConfig]]] = {
            "pixels": ("train", lambda: digits.config(**settings)),
            "LoRA": ("finetune", lambda: lora_config(digits, **settings)),
        }
        for name, (verb, config) in works.items():
            if given.only is None or name in given.only:
                what = f"step of {name}, {given.workers} workers"
                comparison = Comparison(verb, digits, config, given.workers)
                compare(what, comparison, report, num_rounds=given.rounds)


if __name__ == "__main__":
    main()
