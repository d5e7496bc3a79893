"""`darkroom generate` beside other ways to make pictures of a table of prompts, all on S3.

    python -m benchmarks.peers_generate [--rounds 5] [--quick]

The peers: a plain loop over the diffusers pipeline in one process, and the pipeline that public
examples have (Ray Data, `map_batches`, pictures as arrays in the rows). All draw with the same tiny
Stable Diffusion in as many steps and on as many threads: a network of milliseconds shows what the
ways cost, not what drawing costs. Drawing a single row is timed for each and taken off as start-up.

The ratio is the peer's time over ours: above 1, ours is faster. What the peers leave out: seeds
that do not depend on the batch, commits, dead letters, digests, XMP, and Parquet beside the PNGs
(the loop) or PNGs beside the Parquet (the example).
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
from benchmarks import peers
from benchmarks.interleaved import Report, arguments
from benchmarks.peers import Peer, Tally, Works
from benchmarks.s3_bench import BUCKET
from pyarrow import fs  # noqa: TID251 - what the peer reads with
from ray.data import ActorPoolStrategy
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

from darkroom.config import build_config
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.generate.job import run
from darkroom.jobs.session import ray_session
from darkroom.storage import EmbeddedServer, open_store

OURS, LOOP, EXAMPLE = "generate", "a plain loop", "the example's pipeline"
BATCH_SIZE, NUM_STEPS, SIDE = 8, 6, 16


class DrawByExample:
    """A batch of prompts to pictures, as the examples' callable class has it."""

    def __init__(self, model: str, num_threads: int) -> None:
        import torch
        from diffusers import DiffusionPipeline

        torch.set_num_threads(num_threads)
        self._pipeline: Any = DiffusionPipeline.from_pretrained(model)
        self._pipeline.set_progress_bar_config(disable=True)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        pictures = self._pipeline(
            list(batch["prompt"]), num_inference_steps=NUM_STEPS, height=SIDE, width=SIDE
        ).images
        return {"id": batch["id"], "image": np.stack([np.asarray(each) for each in pictures])}


class Comparison:
    """The ways, over a table of many prompts and one of a single one."""

    def __init__(self, model: Path, loop: Peer, *, count: int) -> None:
        self._model, self._loop = str(model), loop
        self._outputs = itertools.count()
        self.tally = Tally(count)

    def works(self) -> Works:
        return {
            OURS: self.tally.here(OURS, self._ours),
            EXAMPLE: self.tally.here(EXAMPLE, self._example),
            LOOP: self._by_loop,
        }

    def _ours(self, count: int) -> None:
        values = {
            "input": f"s3://{BUCKET}/{_table(count)}", "enhance": None,
            "output": f"s3://{BUCKET}/ours-{next(self._outputs)}", "piece_rows": 4 * BATCH_SIZE,
            "draw": {
                "model": self._model, "batch_size": BATCH_SIZE, "num_steps": NUM_STEPS,
                "height": SIDE, "width": SIDE, "num_cpus": os.cpu_count() or 1,
            },
        }  # fmt: skip
        assert run(build_config(GenerateConfig, values))["num_rows"] == count

    def _example(self, count: int) -> None:
        there = fs.S3FileSystem(
            endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://"),
            scheme="http", region=os.environ["AWS_REGION"],
        )  # fmt: skip
        ray.data.read_csv(f"{BUCKET}/{_table(count)}", filesystem=there).map_batches(
            DrawByExample, fn_constructor_args=(self._model, os.cpu_count() or 1),
            batch_size=BATCH_SIZE, compute=ActorPoolStrategy(size=1),
        ).write_parquet(f"{BUCKET}/example-{next(self._outputs)}", filesystem=there)  # fmt: skip

    def _by_loop(self, count: int) -> float:
        found = self._loop.ask(
            "generate", table=_table(count), model=self._model, bucket=BUCKET,
            output=f"loop-{next(self._outputs)}", batch_size=BATCH_SIZE, num_steps=NUM_STEPS,
            side=SIDE,
        )  # fmt: skip
        return self.tally.asked(LOOP, count, found)


def _table(count: int) -> str:
    return f"prompts-{count}.csv"


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    given = parser.parse_args()
    count = 64 if given.quick else 512
    report = Report("peers_generate")
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name,
        EmbeddedServer(Path(name, "s3"), bucket=BUCKET) as server,
    ):
        os.environ.update(server.environment)
        for rows in (1, count):
            lines = ["id,prompt", *(f"r{at:05d},a red fox number {at}" for at in range(rows))]
            open_store(f"s3://{BUCKET}").put(_table(rows), "\n".join(lines).encode())
        model = save_tiny_stable_diffusion(Path(name, "model"))
        # It draws with the very packages that we do.
        with ray_session(num_cpus=6), Peer("generate_loop", python=Path(sys.executable)) as loop:
            sides = Comparison(model, loop, count=count)
            peers.compare(
                report, "prompts to pictures", sides.works(), sides.tally, count=count, few=1,
                num_rounds=given.rounds,
            )  # fmt: skip


if __name__ == "__main__":
    main()
