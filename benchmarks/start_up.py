"""Seconds that every verb takes for next to no work, over those of a minimal Ray job, by phase.

    python -m benchmarks.start_up [--rounds 7] [--quick]

Each arm is a whole command, a process of its own on one standing Ray: the verb on its smallest
work (a picture or two, one step) into a new output on local files, and a script that connects to
Ray and runs one task. What is left of a verb with so little work is its start and its end. Pages
are compiled and files cached by the warm-up round.

    verb / minimal job      budget: BUDGETS, a ratio for each verb

PHASES says where the seconds go: those before Ray and after it as the command's own process sees
them (`start_up_child.py`), and what is between as Ray's own timeline has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from benchmarks.interleaved import Report, after_each_round, arguments
from benchmarks.phase_table import table_of

from darkroom.jobs.session import ray_session, running_address

MINIMAL = "minimal job"
MINIMAL_JOB = """
import ray
ray.init(log_to_driver=False, logging_level="WARNING")
assert ray.get(ray.remote(int).remote("7")) == 7
ray.shutdown()
"""
BUDGETS = {
    "prepare": 4.0, "train": 10.0, "sample": 6.0, "evaluate": 6.0, "classify": 6.0, "report": 3.0,
}  # fmt: skip
NEEDED = ("prepare", "train", "sample", "evaluate")
"""What the arms of other verbs read, made once by the recipe `digits_smoke`."""
CLASSIFIER = ["--library", "timm", "--model", "mobilenetv3_small_050", "--weights", "random"]

PHASES = {
    "imports": "the driver's, until it connects to Ray",
    "before Ray": "the rest until then: Python, settings, inputs, the output's claim",
    "connect": "ray.init",
    "first worker": "until a worker's first task or call begins",
    "tasks": "from there to the end of the last",
    "after": "what the driver still does with Ray there: merge, export, publish",
    "end": "leaving Ray, and Python's exit",
}
TIMELINE = {"RAY_PROFILING": "1", "RAY_task_events_report_interval_ms": "200"}
"""What makes Ray keep a timeline, alike for all arms."""

Span = tuple[float, float]
"""Begin and end, by the wall clock."""


class Verbs:
    """Every verb's smallest work, each run into an output of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = count(1)
        self.phases: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
        """Of each arm's runs, in their order."""

    def prepare_inputs(self) -> None:
        """A dataset, a model, its pictures and their evaluation."""
        for verb in NEEDED:
            finished([
                sys.executable, "-m", "darkroom", verb, *self._of_recipe(verb),
                "--output", self._place(verb),
            ])  # fmt: skip

    def arm(self, name: str) -> Callable[[], float]:
        """One run of the verb, or of the minimal job; its seconds."""
        return lambda: self._run(name, self._arguments(name))

    def _run(self, name: str, arguments: list[str]) -> float:
        marks = self._root / "marks.json"
        command = [sys.executable, "-m", "benchmarks.start_up_child", str(marks), *arguments]
        began = time.time()
        finished(command)
        ended = time.time()
        spans = [span for span in task_spans() if began <= span[0] and span[1] <= ended]
        self.phases[name].append(phases_of(began, json.loads(marks.read_text()), spans, ended))
        return ended - began

    def _arguments(self, name: str) -> list[str]:
        if name == MINIMAL:
            return ["-c", MINIMAL_JOB]
        return [name, *self._smallest(name), "--output", f"{self._root}/out-{next(self._numbers)}"]

    def _of_recipe(self, verb: str) -> list[str]:
        inputs = {
            "prepare": [],
            "train": ["--input", self._place("prepare")],
            "sample": ["--input", self._place("train")],
            "evaluate": [
                "--input", self._place("sample"), "--reference", self._place("prepare"),
            ],
            "report": [
                "--input", self._place("train"), "--samples", self._place("sample"),
                "--evaluation", self._place("evaluate"),
            ],
        }  # fmt: skip
        return ["--recipe", "digits_smoke", *inputs[verb]]

    def _smallest(self, verb: str) -> list[str]:
        if verb == "classify":
            return ["--input", self._place("sample"), *CLASSIFIER, "--limit", "1"]
        less = {
            "train": ["--set", "max_steps=1", "--set", "lr_schedule.warmup_steps=0"],
            "sample": ["--num-images", "1"],
        }
        return [*self._of_recipe(verb), *less.get(verb, [])]

    def _place(self, verb: str) -> str:
        return f"{self._root}/{verb}"


def finished(command: list[str]) -> None:
    """Errors: RuntimeError with the end of what it printed when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stderr[-2000:]}")


def task_spans() -> list[Span]:
    """Of every task and call that a worker of this Ray has done."""
    import ray

    return [
        (event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6)
        for event in ray.timeline()
        if event["cat"].startswith("task") and event["tid"].startswith("worker:")
    ]


def phases_of(
    began: float, marks: Mapping[str, float], spans: Sequence[Span], ended: float
) -> dict[str, float]:
    """Seconds of each of PHASES, and the driver's processor seconds; together they are the run."""
    connecting = marks.get("connecting", marks["returned"])
    connected = marks.get("connected", connecting)
    leaving = marks.get("leaving", marks["returned"])
    inside = [span for span in spans if connected <= span[0] <= leaving]
    first = min((span[0] for span in inside), default=leaving)
    last = min(max((span[1] for span in inside), default=leaving), leaving)
    imports = marks.get("imports until connecting", marks["imports until returned"])
    return {
        "imports": imports,
        "before Ray": connecting - began - imports,
        "connect": connected - connecting,
        "first worker": first - connected,
        "tasks": last - first,
        "after": leaving - last,
        "end": ended - leaving,
        "driver's processor": marks["processor"],
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report("start_up")
    os.environ.update(TIMELINE)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, ray_session(num_cpus=6):
        os.environ["RAY_ADDRESS"] = running_address()
        verbs = Verbs(Path(folder))
        verbs.prepare_inputs()
        arms = {name: verbs.arm(name) for name in (MINIMAL, *BUDGETS)}
        for timings in after_each_round(arms, num_rounds=options.rounds):
            # The first was to warm up.
            measured = {name: runs[1:] for name, runs in verbs.phases.items()}
            report.details |= {"seconds": timings.seconds, "phases": measured}
            print(table_of(measured, [*PHASES, "driver's processor"]), flush=True)
            for verb, budget in BUDGETS.items():
                report.add(
                    f"{verb}: its start and end / a minimal Ray job",
                    timings.ratio(verb, MINIMAL), at_most=budget,
                )  # fmt: skip


if __name__ == "__main__":
    main()
