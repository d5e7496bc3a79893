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
    # Ray's actors draw and encode; a plan needs no tensors.
    "sample.job": {"torch", "ray"},
    "cache.job": {"torch", "ray"},
    "generate.job": {"torch", "ray"},
    "training.driver": {"torch"},
    "tune.job": {"torch"},
    "training.process_group": {"torch"},
    # What the task that exports a model imports before it does the verb's part.
    "training.checkpoint_state": {"ray"},
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
        "training.checkpoint_state",
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
