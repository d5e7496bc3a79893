"""What a run's error said is published: without secrets, on one line, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from darkroom.config import build_config
from darkroom.jobs.parquet import parquet_bytes
from darkroom.jobs.tune import on_ray, trial
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import NextErrand, Watch
from darkroom.jobs.tune.job import run_trials
from darkroom.jobs.tune.publishing import trials_table
from darkroom.jobs.tune.study import Ending, Study
from darkroom.jobs.tune.trial import Errand, run_errand

WORD = "wJalrXUtnFEMI/K7MDENG"
SAID = f"cannot open s3://a/b\nwith password={WORD} \ud800\0" + " and so on" * 1000


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)


def check(error: str) -> None:
    assert error.startswith("cannot open s3://a/b with password=*** ")
    assert WORD not in error
    assert error.isprintable()
    assert len(error) <= 1500
    error.encode()


def config_in(folder: Path) -> TuneConfig:
    values = {
        "input": "/data", "output": str(folder), "run": {},
        "space": {"batch_size": {"kind": "int", "low": 16, "high": 64}},
        "search": {"kind": "bayes", "num_trials": 1},
    }  # fmt: skip
    return build_config(TuneConfig, values)


@pytest.mark.parametrize("raised", [RuntimeError, ValueError])
def test_a_run_that_raises(
    raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(*_: Any, **__: Any) -> NoReturn:
        raise raised(SAID)

    monkeypatch.setattr(trial, "job_of", lambda _: job)
    errand = Errand.trial(0, {"batch_size": 16})
    ending = run_errand(config_in(tmp_path), errand, lambda _step, _loss: None)
    assert ending.state == "failed"
    check(ending.error)


def test_a_task_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: object) -> NoReturn:
        raised = KeyError(SAID.replace("\n", " "))
        raise RayTaskError("run", "Traceback", raised)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(ray, "get", get)
    ending = on_ray._result(None)
    assert ending is not None
    assert ending.state == "failed"
    assert WORD not in ending.error
    assert len(ending.error) <= 1500


def test_a_lost_task_of_which_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class SilentError(WorkerCrashedError):
        def __str__(self) -> str:
            return ""

    def get(_: object) -> NoReturn:
        raise SilentError

    monkeypatch.setattr(ray, "get", get)
    assert on_ray._result(None) is None


def test_the_journal_and_the_table_of_a_trial_that_failed(tmp_path: Path) -> None:
    class Failing:
        def work(self, following: NextErrand, _: Watch) -> Iterator[tuple[Errand, Ending | None]]:
            while (errand := following()) is not None:
                yield errand, Ending(state="failed", error=SAID)

    config = config_in(tmp_path)
    study = Study(config, lambda: None)
    run_trials(study, config, Failing())
    (ended,) = study.ended()
    check(ended.ending.error)
    entries = [path.read_text() for path in (tmp_path / "journal").iterdir()]
    assert any("cannot open" in entry for entry in entries)
    assert not any(WORD in entry for entry in entries)
    table = trials_table(config, study.ended())
    check(table["error"].to_pylist()[0])
    assert WORD.encode() not in parquet_bytes(table)
