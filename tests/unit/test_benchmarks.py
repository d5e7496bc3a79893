"""The arithmetic of the benchmarks: order of turns, ratios, steady steps, names of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks import growth, interleaved
from benchmarks.classify_jobs import Job
from benchmarks.cpu_split import role
from benchmarks.growth import expected, sizes_in_time, slope, table
from benchmarks.interleaved import Ratio, Report, Timings, after_each_round, measure
from benchmarks.profiles import package, profiled
from benchmarks.resume import ratio_to_ideal
from benchmarks.start_up import PHASES, phases_of
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


def test_a_row_holds_the_rounds_that_have_ended(results: Path) -> None:
    seconds = iter([1.0, 2.0, 2.0, 3.0, 8.0, 2.0])  # the third round has no second turn
    arms = {"a": lambda: next(seconds), "b": lambda: 1.0}
    report = Report("unit")
    report.add("other", Ratio.of([1.0]))
    with suppress(RuntimeError):
        for timings in after_each_round(arms, num_rounds=5):
            report.add("a / b", timings.ratio("a", "b"))
    rows = json.loads((results / "unit.json").read_text())["ratios"]
    assert [(row["what"], row["median"], row["num_rounds"]) for row in rows] == [
        ("other", 1.0, 1), ("a / b", 3.75, 2)
    ]  # fmt: skip


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


def test_a_slope_is_the_power_of_the_size() -> None:
    sizes = [10, 100, 1000]
    assert slope(sizes, [3 * size for size in sizes]) == pytest.approx(1)
    assert slope(sizes, [size**2 / 7 for size in sizes]) == pytest.approx(2)
    assert slope(sizes, [5, 5, 5]) == pytest.approx(0)
    with pytest.raises(ValueError, match="two sizes"):
        slope([10, 10], [1, 2])


@pytest.mark.parametrize(
    ("given", "reached"),
    [
        ({"minutes": 60.0, "largest": 100_000}, [1000, 10_000, 100_000]),
        ({"minutes": 60.0, "largest": 10**6, "quick": True}, [1000, 10_000]),
        # Two sizes make a slope; a third would begin after the time.
        ({"minutes": 0.0, "largest": 10**6}, [1000, 10_000]),
    ],
)
def test_sizes_grow_as_long_as_time_allows(
    given: dict[str, float], reached: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "measured", lambda _kind, size, **_: [{"n": size}])
    how = Namespace(**{"quick": False, **given})
    assert [size for size, _rows in sizes_in_time("keys", how)] == reached


def test_what_is_expected_of_a_size_goes_by_the_last_two() -> None:
    """Nine seconds more for ten times the work: the rest of the ten was the start."""
    assert expected([10, 100, 1000], [1.0, 10.0]) == pytest.approx(10 + 9 * 900 / 90)
    assert expected([10, 100, 1000], [3.0, 2.0]) == 2.0


def test_the_table_has_a_line_for_each_size() -> None:
    rows = [
        {
            "subject": "gc", "n": size, "seconds": seconds, "driver_mb": 2.0,
            "driver_processor_seconds": seconds / 2,
            "s3": {"GET": 3.0, "LIST": size / 10, "sent": 7.0 * size},
        }
        for size in (10, 100)
        for seconds in (1.0, 3.0)
    ]  # fmt: skip
    _head, _rule, small, large = table(rows).splitlines()
    assert small == "| gc | 10 | 2 | 1e+05 | 2 | 0.4 | 7 |"
    assert large.startswith("| gc | 100 | 2 | 1e+04 | 2 | 0.13 |")


MARKS = {
    "connecting": 104.0, "imports until connecting": 3.0, "connected": 106.0, "leaving": 120.0,
    "returned": 121.0, "imports until returned": 5.0, "processor": 7.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("marks", "spans", "expected"),
    [
        (MARKS, [(108.0, 109.0), (110.0, 118.0)], [3.0, 1.0, 2.0, 2.0, 10.0, 2.0, 2.0]),
        # Another command's tasks, and one that goes on when this one leaves.
        (MARKS, [(90.0, 99.0), (108.0, 125.0)], [3.0, 1.0, 2.0, 2.0, 12.0, 0.0, 2.0]),
        ({name: MARKS[name] for name in ("returned", "imports until returned", "processor")}, [],
         [5.0, 16.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
    ],
    ids=["with tasks", "of others", "without Ray"],
)  # fmt: skip
def test_the_phases_of_a_start_are_the_whole_run(
    marks: dict[str, float], spans: list[tuple[float, float]], expected: list[float]
) -> None:
    phases = phases_of(100.0, marks, spans, 122.0)
    assert [phases[name] for name in PHASES] == expected
    assert sum(expected) == 22.0


def test_a_command_is_watched_without_ray(tmp_path: Path) -> None:
    file = tmp_path / "marks.json"
    command = [sys.executable, "-m", "benchmarks.start_up_child", str(file), "-c", "import wave"]
    subprocess.run(command, cwd=ROOT, check=True)
    marks = json.loads(file.read_text())
    assert marks["imports until returned"] > 0
    assert "connecting" not in marks
