"""The charts' own preStop commands, run against a process that is called as `ray start` is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.processes import refusing_port
from tools import render

VALUES: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {},
    "darkroom-job": {"verb": "prepare", "input": "s3://b/raw", "output": "s3://b/data"},
    "darkroom-service": {"models": ["s3://b/m"], "keys": {"secretName": "keys"}},
}
RAY_START = """
import pathlib, signal, sys, time
said = pathlib.Path(sys.argv[2])
def drain(*_):
    time.sleep({seconds})
    said.write_text("drained")
    sys.exit(1)
signal.signal(signal.SIGTERM, drain)
said.write_text("started")
while True:
    signal.pause()
"""
WITHOUT_A_HEAD = [("darkroom-cluster", 600), ("darkroom-job", 600), ("darkroom-service", 8)]
"""Seconds that the drain takes: more than the test has where it must be cut short."""
RAY_STOP = '#!/bin/sh\necho "$@" > "$(dirname "$0")/stopped"\n'


def worker_of(chart: str) -> dict[str, Any]:
    """The container of the default pool's workers."""
    for found in render(chart, VALUES[chart]):
        spec = found.get("spec", {})
        cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        for group in cluster.get("workerGroupSpecs", []):
            container: dict[str, Any] = group["template"]["spec"]["containers"][0]
            return container
    raise AssertionError(f"{chart} has no workers")


def pre_stop(container: dict[str, Any], processes: Path) -> list[str]:
    """Its command, looking for processes in a folder: another `ray start` here is not ours."""
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["python", "-c"]
    text = command[2].replace('Path("/proc")', f"Path({str(processes)!r})")
    assert text != command[2]
    return [sys.executable, "-c", text, *command[3:]]


@contextmanager
def ray_start(
    folder: Path, seconds: float, *, is_first: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A stand-in for `ray start --block` that takes so long to drain; what it says.

    is_first: whether the hook finds it as the pod's first process.
    """
    (folder / "ray").write_text(RAY_START.format(seconds=seconds))
    said = folder / "said"
    with subprocess.Popen([sys.executable, str(folder / "ray"), "start", str(said)]) as process:
        (folder / str(1 if is_first else process.pid)).symlink_to(f"/proc/{process.pid}")
        while not said.exists() or said.read_text() != "started":
            time.sleep(0.05)
        try:
            yield process, said
        finally:
            process.kill()


@pytest.fixture
def head() -> Iterator[str]:
    """The address of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing takes connections."""
    with refusing_port() as port:
        yield f"127.0.0.1:{port}"


def with_ray_stop(folder: Path) -> Path:
    """A folder with a `ray` that writes down that it was called."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ray").write_text(RAY_STOP)
    (programs / "ray").chmod(0o755)
    return programs


def path_with(programs: Path) -> str:
    return f"{programs}:{os.environ['PATH']}"


@pytest.mark.parametrize("chart", VALUES)
def test_ray_start_drains_and_the_pod_waits(chart: str, head: str, tmp_path: Path) -> None:
    command = pre_stop(worker_of(chart), tmp_path)
    with ray_start(tmp_path, 1) as (process, said):
        subprocess.run(command, check=True, timeout=60, env={**os.environ, "RAY_ADDRESS": head})
        assert process.wait(30) == 1, "it ended by itself, not by the signal"
        assert said.read_text() == "drained"


@pytest.mark.parametrize(("chart", "seconds"), WITHOUT_A_HEAD)
def test_without_a_head_only_a_service_goes_on(
    chart: str, seconds: float, nobody: str, tmp_path: Path
) -> None:
    """A cluster that goes as a whole must not hold its nodes; a service's requests must end."""
    command = pre_stop(worker_of(chart), tmp_path)
    programs = with_ray_stop(tmp_path)
    with ray_start(tmp_path, seconds) as (_, said):
        environment = {**os.environ, "RAY_ADDRESS": nobody, "PATH": path_with(programs)}
        subprocess.run(command, check=True, timeout=60, env=environment)
        drained = said.read_text() == "drained"
    assert drained == (chart == "darkroom-service")
    assert (programs / "stopped").exists() != drained


@pytest.mark.parametrize("chart", VALUES)
def test_the_first_process_is_left_to_the_kubelet(chart: str, head: str, tmp_path: Path) -> None:
    """A hook that outlives its container is reported as failed at every pod's end."""
    command = pre_stop(worker_of(chart), tmp_path)
    with ray_start(tmp_path, 1, is_first=True) as (process, said):
        environment = {**os.environ, "RAY_ADDRESS": head}
        subprocess.run(command, check=True, timeout=60, env=environment, capture_output=True)
        assert said.read_text() == "started", "it was not told twice"
        process.terminate()  # as the kubelet does next
        assert process.wait(30) == 1
        assert said.read_text() == "drained"


@pytest.mark.parametrize(("chart", "seconds"), WITHOUT_A_HEAD)
def test_without_a_head_the_first_process_is_stopped_too(
    chart: str, seconds: float, nobody: str, tmp_path: Path
) -> None:
    command = pre_stop(worker_of(chart), tmp_path)
    programs = with_ray_stop(tmp_path)
    with ray_start(tmp_path, seconds, is_first=True) as (process, said):
        environment = {**os.environ, "RAY_ADDRESS": nobody, "PATH": path_with(programs)}
        subprocess.run(command, check=True, timeout=60, env=environment, capture_output=True)
        process.terminate()  # as the kubelet does next
        while process.poll() is None and not (programs / "stopped").exists():
            time.sleep(0.1)
        drained = said.read_text() == "drained"
    assert drained == (chart == "darkroom-service")
    assert (programs / "stopped").exists() != drained


@pytest.mark.parametrize("chart", ["darkroom-cluster", "darkroom-job"])
def test_the_drain_ends_before_the_pods_time_does(chart: str) -> None:
    environment = {one["name"]: one.get("value") for one in worker_of(chart)["env"]}
    assert environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "45"
