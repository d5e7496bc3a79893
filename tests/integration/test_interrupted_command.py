"""SIGTERM ends a command with 143 and leaves no Ray behind, though Ray has its own idea of both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil

# What a job verb is while it works: a Ray session within main's handling of signals.
COMMAND = """
import json, os, pathlib, signal, sys
import psutil
from darkroom import cli
from darkroom.cli import verbs
from darkroom.jobs.session import ray_session

def job(verb, config):
    with ray_session():
        children = psutil.Process().children(recursive=True)
        pids = {child.pid: child.create_time() for child in children}
        pathlib.Path(config.output).write_text(json.dumps(pids))
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

verbs.Verb.run = job
sys.exit(cli.main(sys.argv[1:]))
"""


def test_sigterm_in_a_job_is_143_one_line_and_no_ray(tmp_path: Path) -> None:
    pids_path = tmp_path / "pids.json"
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "prepare", "--recipe", "digits", "--output", pids_path],
        capture_output=True, text=True, check=False, timeout=800,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("darkroom: ")] == [
        "darkroom: stopped by SIGTERM; what is published is whole, and --resume goes on from it"
    ]
    pids: dict[str, float] = json.loads(pids_path.read_text())
    assert pids, "Ray ran"
    left = [process for process in psutil.process_iter() if str(process.pid) in pids]
    ours = [process for process in left if process.create_time() == pids[str(process.pid)]]
    _, alive = psutil.wait_procs(ours, timeout=120)
    assert not alive
