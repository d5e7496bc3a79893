"""Proof: every benchmark runs to its end, two quick rounds each, and writes its rows.

`build/proofs/benchmarks.json` has a row for each. Their figures mean nothing at this size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testcluster.settings import KUBECONFIG
from tests.helpers.proof import keep

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if "arguments(__doc__)" in path.read_text()
)
ON_A_CLUSTER = {"start_up_cluster"}


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    """Kept at the end."""
    kept: list[dict[str, Any]] = []
    yield kept
    keep("benchmarks", kept)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_ends(name: str, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    if name in ON_A_CLUSTER and not KUBECONFIG.exists():
        pytest.skip("no test cluster runs: make cluster-up image")
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--rounds", "2"],
        cwd=ROOT,
        env={**os.environ, "BENCH_RESULTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ratios = json.loads((tmp_path / f"{name}.json").read_text())["ratios"]
    assert ratios
    assert {ratio["num_rounds"] for ratio in ratios} == {2}
    seconds = round(time.perf_counter() - started)
    rows.append({"benchmark": name, "ratios": len(ratios), "seconds": seconds})
