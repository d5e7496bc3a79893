"""Results go to stdout, everything else to stderr, and an error is one line."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys

import pytest

from darkroom.cli.output import (
    log_to_stderr,
    print_error,
    print_result,
)
from darkroom.cli.stopping import Stopped, unwinding_on_signals
from darkroom.errors import (
    DataError,
    InterruptedBySignal,
    StorageError,
)


def test_a_result_is_one_figure_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(
        {
            "output": "s3://b/x",
            "loss": 0.123456,
            "classes": {"0": 3, "1": None},
            "range": [1, 2.0],
            "biased": True,
            "buckets": [{"height": 64}, {"height": 96}],
            "none": [],
        },
        as_json=False,
    )
    assert capsys.readouterr().out.splitlines() == [
        "output            s3://b/x",
        "loss              0.1235",
        "classes.0         3",
        "classes.1         -",
        "range             1, 2",
        "biased            yes",
        "buckets.0.height  64",
        "buckets.1.height  96",
        "none              -",
    ]


def test_a_json_result_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"output": "s3://b/ü", "loss": 0.123456}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"output": "s3://b/ü", "loss": 0.123456}


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            DataError("input", "x", "is empty", "give more"),
            2,
            "input: got 'x', is empty; give more",
        ),
        (StorageError("the store\nfailed"), 1, "the store failed"),
        (InterruptedBySignal("stopped at step 3"), 143, "stopped at step 3"),
        (
            Stopped(signal.SIGINT),
            130,
            "stopped by SIGINT; what is published is whole, and --resume",
        ),
        (KeyError("a"), 1, "unexpected KeyError: 'a'; DARKROOM_DEBUG=1 or --debug shows the trace"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert print_error(error, as_json=True, debug=False) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"darkroom: {line}")
    assert captured.err.count("\n") == 1
    shown = json.loads(captured.out)
    assert shown["exit_code"] == code
    assert shown["error"]["type"] == type(error).__name__
    assert shown["error"].get("field") == ("input" if code == 2 else None)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        divmod(1, 0)
    print_error(caught.value, as_json=False, debug=True)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "darkroom: unexpected ZeroDivisionError: " in err.splitlines()[-1]


def test_what_a_job_prints_does_not_reach_stdout() -> None:
    code = (
        "import os, subprocess\n"
        "from darkroom.cli.output import stdout_to_stderr\n"
        "print('before')\n"
        "with stdout_to_stderr():\n"
        "    print('from python')\n"
        "    os.write(1, b'from a library\\n')\n"
        "    subprocess.run(['echo', 'from a child'])\n"
        "print('after')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["before", "after"]
    assert set(done.stderr.splitlines()) == {"from python", "from a library", "from a child"}


def test_our_log_goes_to_what_stderr_is_at_the_time_once(
    enabled_loggers: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("darkroom")
    before = (logger.handlers, logger.level, logger.propagate)
    try:
        log_to_stderr(debug=False)
        log_to_stderr(debug=False)
        logging.getLogger("darkroom.jobs").info("step %d", 3)
        logging.getLogger("darkroom.jobs").debug("hidden")
        captured = capsys.readouterr()
        with monkeypatch.context() as replaced:
            replaced.setattr(sys, "stderr", later := io.StringIO())
            logging.getLogger("darkroom.jobs").info("step %d", 4)
    finally:
        logger.handlers, logger.level, logger.propagate = before
    assert captured.out == ""
    assert captured.err.count("step 3") == 1
    assert later.getvalue().count("step 4") == 1
    assert "hidden" not in captured.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unwinds_and_the_old_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, unwinding_on_signals():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with unwinding_on_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
