"""The session on a real Ray: what it starts it stops, what it finds it leaves, and it is quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import darkroom
from darkroom.jobs.session import ray_session

CONNECT = """
from darkroom.jobs.session import ray_session
with ray_session():
    import ray
    print(ray.get_runtime_context().gcs_address)
"""


def test_session_starts_serves_is_shared_and_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setenv("HOME", str(tmp_path))
    assert not ray.is_initialized()
    with ray_session(num_cpus=2):
        assert ray.cluster_resources()["CPU"] == 2  # type: ignore[no-untyped-call]
        assert ray.get(ray.remote(where_darkroom_is).remote()) == darkroom.__file__
        with ray_session():
            pass
        assert ray.is_initialized()  # a session inside another ends nothing

        address = ray.get_runtime_context().gcs_address
        other = subprocess.run(
            [sys.executable, "-c", CONNECT],
            env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert other.stdout.strip() == address
        assert ray.get(ray.remote(where_darkroom_is).remote())  # and the cluster goes on
    assert not ray.is_initialized()
    assert not (tmp_path / ".ray").exists()  # no token file
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def where_darkroom_is() -> str:
    """Runs in a worker."""
    return str(darkroom.__file__)
