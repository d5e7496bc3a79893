"""Runs of `darkroom train` for tests: small, started as users start them, killed for real.

A run is a process of its own with a Ray of its own, so that killing it kills what a lost node
or an evicted pod would lose. Only processes that were started here are signalled, by pid.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from tests.helpers.processes import command_of, kill_all

from darkroom.config import build_config
from darkroom.jobs.train.config import TrainConfig
from darkroom.storage import Artifact, PointerState, RunPointer, open_artifact, open_store
from darkroom.storage.pointer import read_pointer

T = TypeVar("T")

WAIT_SECONDS = 600
"""Ends a hang; a busy machine takes minutes to start a training."""
WEIGHTS = "model/unet/diffusion_pytorch_model.safetensors"

SETTINGS: dict[str, Any] = {
    "max_steps": 60,
    "batch_size": 32,
    "unet": {
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "attention_resolutions": [4],
        "norm_num_groups": 8,
        "dropout": 0.1,
    },
    "schedule": {"num_timesteps": 100},
    "optimizer": {"learning_rate": 2e-3},
    "lr_schedule": {"kind": "cosine", "warmup_steps": 5},
    "ema": {"decay": 0.99},
    "validation": {"every_steps": 20, "num_images": 64},
    "checkpoint": {"every_steps": 10, "asynchronous": False},
    "log_every_steps": 5,
}
"""Seconds of work, with everything in it that a resume must restore."""


def train_config(data: str, /, output: str, **changes: Any) -> TrainConfig:
    """SETTINGS with changes: `workers={"num_workers": 2}` replaces keys of that section."""
    values = {**SETTINGS, "input": data, "output": output}
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return build_config(TrainConfig, values)


@dataclass
class Run:
    """A driver in a process of its own."""

    process: subprocess.Popen[str]
    log: Path
    began_at: float = field(default_factory=time.time)
    """Wall clock just before it was started."""

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=WAIT_SECONDS)

    def tree(self) -> list[psutil.Process]:
        """The driver and everything that it started: GCS, raylet, workers."""
        driver = psutil.Process(self.process.pid)
        return [driver, *driver.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """Its training workers."""
        return [p for p in self.tree() if "TrainWorker" in " ".join(command_of(p))]

    def exported_metrics(self) -> str:
        """What Prometheus would scrape from Ray's metrics endpoint; empty before it answers."""
        for process in self.tree():
            if "ray::DashboardAgent" not in " ".join(command_of(process)):
                continue
            for port in _listening_ports(process):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    url = f"http://127.0.0.1:{port}/metrics"
                    with urllib.request.urlopen(url, timeout=30) as answer:
                        text = answer.read().decode()
                    if "# TYPE ray_" in text:
                        return str(text)
        return ""

    def kill_everything(self) -> None:
        """SIGKILL to the driver and all of its Ray at once."""
        tree = self.tree()
        kill_all(tree, seconds=120)
        self.process.wait(timeout=120)


def _listening_ports(process: psutil.Process) -> list[int]:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN]


@contextlib.contextmanager
def running(
    verb: str,
    values: Mapping[str, Any],
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """The command with these settings; whatever is left of it at the end is killed."""
    directory.mkdir(parents=True, exist_ok=True)
    stamp = time.monotonic_ns()
    file, log = directory / f"{verb}-{stamp}.yaml", directory / f"{verb}-{stamp}.log"
    file.write_text(json.dumps(values))  # JSON is YAML
    began_at = time.time()
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "darkroom", verb, "--config", str(file), "--json"],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", **(environment or {})},
            text=True,
        )
    run = Run(process, log, began_at)
    try:
        yield run
    finally:
        if process.poll() is None:
            run.kill_everything()


def started(
    config: TrainConfig, directory: Path, environment: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[Run]:
    """`running`, for a training run."""
    return running("train", config.to_dict(), directory, environment)


def complete(config: TrainConfig, directory: Path) -> Artifact:
    """Run to the end; the model."""
    with started(config, directory) as run:
        assert run.wait() == 0, run.log.read_text()[-4000:]
    return open_artifact(config.output, kind="model")


def pointer_of(output: str) -> PointerState | None:
    """The run's pointer as it stands."""
    return read_pointer(open_store(output))[0]


def wait_for_step(run: Run, output: str, step: int) -> int:
    """Wait until a checkpoint of at least `step` is published; its step."""

    def reached() -> int | None:
        state = pointer_of(output)
        return state.step if state is not None and state.step >= step else None

    return wait_until(reached, f"step {step} of {output}", run)


def wait_until(
    ready: Callable[[], T | None], what: str, run: Run, *, every_seconds: float = 0.02
) -> T:
    """Poll until `ready` gives a value; fails when the run ends before."""
    limit = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < limit:
        value = ready()
        if value is not None:
            return value
        if run.process.poll() is not None:
            raise AssertionError(f"the run ended before {what}: {run.log.read_text()[-4000:]}")
        time.sleep(every_seconds)
    raise AssertionError(f"waited {WAIT_SECONDS} s for {what}: {run.log.read_text()[-4000:]}")


def weights_digest(model: Artifact) -> str:
    """sha256 of the published weights."""
    return model.entry(WEIGHTS).sha256


def attach(output: str) -> RunPointer:
    """A hold on the run under its present owner."""
    state = pointer_of(output)
    assert state is not None
    return RunPointer.attach(output, owner=state.owner)
