"""Progress goes to the given stream, and reads well in a log."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest

from darkroom.jobs import progress as module
from darkroom.jobs.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_gets_one_line_at_the_end() -> None:
    log = io.StringIO()
    with progress(10, "prepare", "pictures", stream=log) as bar:
        for _ in range(10):
            bar.advance(loss=0.123456)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("prepare: 10/10 pictures in ")
    assert line.endswith(" s, loss 0.1235")


def test_log_gets_a_line_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_INTERVAL_SECONDS", 0.0)
    log = io.StringIO()
    with progress(2, "train", "steps", stream=log) as bar:
        bar.advance()
        bar.advance()
    counts = [line.split()[1] for line in log.getvalue().splitlines()]
    assert counts == ["1/2", "2/2", "2/2"]


def test_log_says_how_far_an_interrupted_job_came() -> None:
    log = io.StringIO()
    with suppress(KeyboardInterrupt), progress(5, "x", "rows", stream=log) as bar:
        bar.advance(3)
        raise KeyboardInterrupt
    assert log.getvalue().startswith("x: 3/5 rows")


def test_terminal_gets_a_bar_that_is_redrawn() -> None:
    terminal = Terminal()
    with progress(4, "prepare", "pictures", stream=terminal) as bar:
        bar.advance(4)
    assert "100%" in terminal.getvalue()
    assert "\r" in terminal.getvalue()


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, "x", "rows") as bar:
        bar.advance()
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err
