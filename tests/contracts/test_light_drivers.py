"""Drivers import no framework that only their workers need: seconds at every start."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"diffusers", "lightning"}
LIGHTER = {
    # Features come from actors, and figures from features.
    "evaluate.job": {"torch", "ray"},
    # A base is looked at by its configs and headers; a task exports.
    "finetune.job": {"torch", "ray", "transformers"},
    "training.driver": {"torch"},
    "tune.job": {"torch"},
    "training.process_group": {"torch"},
    # Ray Data's tasks and Ray Train's actors load it, one in every process.
    "training.ray_data_rows": {"torch"},
}


@pytest.mark.parametrize(
    "module",
    [
        "train.job",
        "finetune.job",
        "training.driver",
        "training.process_group",
        "training.ray_data_rows",
        "training.worker",
        "sample.job",
        "cache.job",
        "generate.job",
        "tune.job",
        "evaluate.job",
        "report.job",
    ],
)
def test_a_driver_starts_without_what_its_workers_need(module: str) -> None:
    program = f"import sys, darkroom.jobs.{module}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    heavy = HEAVY | LIGHTER.get(module, set())
    assert heavy.isdisjoint(run.stdout.splitlines()[-1].split())
