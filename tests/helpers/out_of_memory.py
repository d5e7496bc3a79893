"""A batch job whose actor fills the memory once, on a Ray that allows 4 GiB more than is in use.

    python -m tests.helpers.out_of_memory OUTPUT SCENE

A process of its own, since Ray's memory monitor is told its threshold when Ray starts. Leaves
the raylet's log at `SCENE/raylet.out`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
from tests.helpers.batch_stages import SCHEMA, SumConfig, Trouble, rows, stages

from darkroom.jobs.batch.job import open_batch
from darkroom.jobs.session import ray_session


def main(output: str, scene: str) -> None:
    memory = psutil.virtual_memory()
    allowed = (memory.total - memory.available + 4 * 2**30) / memory.total
    os.environ["RAY_memory_usage_threshold"] = str(allowed)  # noqa: SIM112  (Ray spells it so)
    trouble = Trouble("fill memory once", "r009", scene)
    config = SumConfig(output=output, piece_rows=4)
    with ray_session():
        import ray

        node: Any = ray.nodes()[0]  # type: ignore[no-untyped-call]
        session = Path(node["ObjectStoreSocketName"]).parents[1]
        with open_batch(config, kind="sums", rows=rows(20), parents=[]) as batch:
            batch.run(stages(actor_trouble=trouble), schema=SCHEMA, description="sum", unit="rows")
            batch.publish()
        shutil.copy(session / "logs" / "raylet.out", scene)


if __name__ == "__main__":
    main(*sys.argv[1:])
