"""The whole pipeline as `make run` starts it, on the smallest recipe: from shell to report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RUN = ["darkroom", "ray", "--", "examples/digits.sh"]
VERBS = ["prepare", "train", "sample", "evaluate", "report"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


def serve(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside an S3 server that keeps its data in `home`."""
    environment = {
        **os.environ,
        "DARKROOM_RECIPE": "digits_smoke",
        "DARKROOM_REPORT": str(home / "report"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    server = [f"{BIN}/darkroom", "storage", "serve", "--data", f"{home}/s3", "--bucket", "darkroom"]
    process = subprocess.Popen(
        [*server, "--", *command],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = process.communicate()
    except BaseException:  # the test's time limit: SIGTERM stops all that the command started
        process.terminate()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def first_run(home: Path) -> subprocess.CompletedProcess[str]:
    return serve(home, *RUN)


def digests(output: str) -> list[str]:
    return re.findall(r"^digest +([0-9a-f]{64})$", output, re.MULTILINE)


def test_it_ends_with_a_report(first_run: subprocess.CompletedProcess[str], home: Path) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert re.findall(r"^== (\w+)$", first_run.stdout, re.MULTILINE) == [*VERBS, "done"]
    assert len(digests(first_run.stdout)) == len(VERBS)
    page = (home / "report/report.html").read_text()
    assert "Digits" in page
    assert f"Open {home}/report/report.html in a browser." in first_run.stdout


def test_nothing_but_results_is_on_stdout(first_run: subprocess.CompletedProcess[str]) -> None:
    unexpected = [
        line
        for line in first_run.stdout.splitlines()
        if line and not re.match(r"(== \w+|[\w.]+  +\S.*|Open \S+ in a browser\.)$", line)
    ]
    assert not unexpected


def test_a_rerun_shows_the_same_at_once(
    first_run: subprocess.CompletedProcess[str], home: Path
) -> None:
    rerun = serve(home, *RUN)
    assert rerun.returncode == 0, rerun.stderr
    assert rerun.stdout == first_run.stdout
    assert rerun.stderr == "", "nothing was done again"


def test_every_output_leads_back_to_the_digits(
    first_run: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert first_run.returncode == 0
    lineage = "darkroom storage lineage s3://darkroom/digits/report --json"
    tree: Any = json.loads(serve(home, "bash", "-c", lineage).stdout)
    assert tree["ok"]

    def kinds(node: Any) -> set[str]:
        return {node["kind"]}.union(*(kinds(parent) for parent in node["parents"]))

    expected = {"report", "evaluation", "samples", "model", "checkpoint", "dataset"}
    assert expected <= kinds(tree["root"])
