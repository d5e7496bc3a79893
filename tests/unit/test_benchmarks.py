"""The arithmetic of the benchmarks: order of turns, ratios, steady steps, names of processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from benchmarks import interleaved
from benchmarks.classify_jobs import Job
from benchmarks.cpu_split import role
from benchmarks.interleaved import Ratio, Report, Timings, measure
from benchmarks.profiles import package, profiled
from benchmarks.resume import ratio_to_ideal
from benchmarks.train import LOG_EVERY, WARM_UP_STEPS, logged_seconds, steady

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where reports are written."""
    monkeypatch.setattr(interleaved, "RESULTS", tmp_path)
    return tmp_path


def test_turns_go_forward_then_backward_after_the_warm_up() -> None:
    turns: list[str] = []
    measure({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, num_rounds=2)
    assert "".join(turns) == "ab" + "abba" * 2


def test_a_round_is_the_mean_of_its_two_turns() -> None:
    seconds = iter([1.0, 2.0, 4.0, 3.0])
    timings = measure({"a": lambda: next(seconds), "b": lambda: next(seconds)}, num_rounds=1,
                      num_warmups=0)  # fmt: skip
    assert timings.seconds == {"a": [2.0], "b": [3.0]}
    assert timings.ratio("a", "b").median == pytest.approx(2 / 3)


def test_joined_rounds_keep_their_order() -> None:
    parts = [Timings({"a": [1.0], "b": [2.0]}), Timings({"a": [3.0], "b": [4.0]})]
    assert Timings.joined(parts).seconds == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize(
    ("ratios", "limits", "met"),
    [
        ([1.0, 1.01, 1.02], {"at_most": 1.05}, True),
        ([1.0, 1.01, 1.20], {"at_most": 1.05}, False),  # the median would meet it
        ([0.95, 0.99, 1.2], {"at_least": 0.9}, True),
        ([0.80, 0.99, 1.2], {"at_least": 0.9}, False),
    ],
)
def test_a_target_is_met_by_the_interval_s_bad_end(
    ratios: list[float], limits: dict[str, float], met: bool
) -> None:
    report = Report("unit")
    report.add("this", Ratio.of(ratios), **limits)
    assert report.ratios[0]["met"] is met


def test_a_row_is_written_when_it_is_measured(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("unit")
    for number, what in enumerate(("this", "that"), start=1):
        report.add(what, Ratio.of([1.0]), at_least=0.9)
        rows = json.loads((results / "unit.json").read_text())["ratios"]
        assert [row["what"] for row in rows] == ["this", "that"][:number]
        assert what in capsys.readouterr().out


def test_no_two_runs_of_a_process_have_one_output(tmp_path: Path) -> None:
    outputs = [Job(tmp_path, tmp_path).config().output for _ in range(20)]
    assert len(set(outputs)) == len(outputs)


def test_one_benchmark_s_end_does_not_end_the_others() -> None:
    done = subprocess.run(
        ["make", "-o", "setup", "bench", "BENCHMARKS=none neither"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "bench: failed: none neither" in done.stderr


def test_no_rounds_give_no_ratio() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        Ratio.of([])


def test_steps_are_steady_after_the_warm_up() -> None:
    num_warm = WARM_UP_STEPS // LOG_EVERY
    assert steady([9.0] * num_warm + [0.1, 0.3]) == pytest.approx(0.2)


def test_the_log_s_rates_become_seconds_of_a_step() -> None:
    assert logged_seconds([None, 64.0, 256.0], batch_size=128) == [2.0, 0.5]


def test_an_ideal_resume_has_the_ratio_one() -> None:
    runs = {"whole": [35.0, 45.0], "start-up": [15.0, 25.0]}
    ideal = Timings({**runs, "resumed": [25.0, 30.0]})
    assert ratio_to_ideal(ideal, [0.5, 0.25]).median == 1
    slower = Timings({**runs, "resumed": [27.0, 31.0]})
    assert ratio_to_ideal(slower, [0.5, 0.25]).median == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::_RayTrainWorker__execute.get_next"], "ray::_RayTrainWorker__execute.get_next"),
        (["ray::IDLE", "", ""], "ray::IDLE"),
        (["/venv/bin/python", "-u", "/site/ray/dashboard/agent.py", "--port=1"], "agent"),
        (["/venv/bin/python", "-m", "darkroom", "train"], "darkroom"),
        (["/site/ray/core/src/ray/raylet/raylet", "--store=x"], "raylet"),
        ([], "?"),
    ],
)
def test_processes_are_named_by_what_they_run(command: list[str], name: str) -> None:
    assert role(command) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("~", "built-in"),
        ("/venv/lib/python3.11/site-packages/torch/nn/modules/conv.py", "torch"),
        ("/checkout/src/darkroom/storage/s3.py", "darkroom"),
        ("/checkout/benchmarks/bare_loop.py", "benchmarks"),
        ("/usr/lib/python3.11/threading.py", "python"),
    ],
)
def test_profiled_files_belong_to_packages(path: str, name: str) -> None:
    assert package(path) == name


def test_a_profile_adds_up() -> None:
    found = profiled(lambda: [sorted(range(1000)) for _ in range(100)], count=100)
    assert found["milliseconds"] == pytest.approx(sum(found["by_package"].values()), abs=1e-3)
    assert "built-in: <built-in method builtins.sorted>" in found["by_function"]
