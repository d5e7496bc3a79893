"""A command run on the side: its exit code, its environment, and signals that reach all of it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.cli.child import run_child
from darkroom.errors import ConfigError

# Runs a command as `darkroom storage serve -- ...` does, then says that it lived to clean up.
PARENT = """
import os, sys
from darkroom.cli.child import run_child
code = run_child(sys.argv[1:], os.environ)
print("cleaned up", flush=True)
sys.exit(code)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (python("pass"), 0),
        (python("raise SystemExit(7)"), 7),
        (python("import os; os.kill(os.getpid(), 9)"), 128 + 9),
    ],
)
def test_the_exit_code_is_passed_on(command: list[str], code: int) -> None:
    assert run_child(command, os.environ) == code


def test_the_command_sees_the_environment_it_is_given() -> None:
    check = python("import os; raise SystemExit(os.environ['AWS_REGION'] != 'here')")
    assert run_child(check, {**os.environ, "AWS_REGION": "here"}) == 0


def test_a_command_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nix', cannot be run \(No such file"):
        run_child([str(tmp_path / "nix")], os.environ)


def test_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run_child(python("pass"), os.environ)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.02)
    raise TimeoutError(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_job_of_a_script_and_its_end_is_awaited(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The shell dies at once; the job that it ran needs a moment to save its work."""
    job = tmp_path / "job.py"
    job.write_text(
        "import pathlib, signal, sys, time\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "def save(number, frame):\n"
        "    time.sleep(0.5)\n"
        "    (here / 'saved').open('a').write('x')\n"
        "    sys.exit(143)\n"
        f"signal.signal({int(number)}, save)\n"
        "(here / 'started').write_text('x')\n"
        "while True: time.sleep(0.01)\n"
    )
    script = f"{sys.executable} {job} {tmp_path}; echo never >> {tmp_path}/after"
    parent = subprocess.Popen(
        [*python(PARENT), "bash", "-c", script],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    wait_for(tmp_path / "started")
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=120)
    assert (tmp_path / "saved").read_text() == "x", "one signal, once"
    assert "cleaned up" in out
    if number is signal.SIGTERM:
        assert parent.returncode == 143
        assert not (tmp_path / "after").exists()


def test_ctrl_c_at_a_terminal_reaches_the_command_and_not_us() -> None:
    """What is run from a terminal owns it while it runs."""
    pid, terminal = pty.fork()
    if pid == 0:
        job = (
            "import os, time\n"
            "try:\n"
            "    while os.tcgetpgrp(0) != os.getpgrp(): time.sleep(0.01)\n"  # given the terminal
            "    print('ready', flush=True)\n"
            "    while True: time.sleep(0.01)\n"
            "except KeyboardInterrupt:\n"
            "    print('job stopped', flush=True)\n"
            "    raise SystemExit(130)\n"
        )
        os.execv(sys.executable, [*python(PARENT), *python(job)])  # noqa: S606
    seen = b""
    try:
        while b"cleaned up" not in seen:
            seen += os.read(terminal, 1024)
            if b"ready" in seen and b"^C" not in seen:
                os.write(terminal, b"\x03")
                seen += b"^C"
    except OSError:
        pass  # the terminal closes with its last process
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"job stopped" in seen
    assert b"cleaned up" in seen
    assert os.waitstatus_to_exitcode(status) == 130
