"""Proof: `generate`, its driver and all of Ray killed at random moments, publishes the same bytes.

Real processes, a real S3 server, SIGKILL. Each seed kills one run at a moment of its own and
reruns the same command. DARKROOM_PROOF_KILLS says how many (default 10; CI takes 1); the figures
go to build/proofs/generate.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.language_models import save_tiny_language_model
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

from darkroom.storage import Artifact, EmbeddedServer, open_artifact, open_store

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/generate"
FIGURES = Path(__file__).resolve().parents[2] / "build/proofs/generate.json"
NUM_KILLS = int(os.environ.get("DARKROOM_PROOF_KILLS", "10"))
NUM_ROWS = 120
PIECE_ROWS = 8
WAIT_SECONDS = 1200.0


@dataclass(frozen=True)
class Killed:
    """One kill and what its rerun did."""

    seed: int
    committed_rows: int
    """At the kill."""
    resumed_rows: int
    """That the rerun took over."""
    redone_share: float
    """Rows that the rerun ran, of those that were not committed: 1 is only those."""
    lost_rows: int
    doubled_rows: int
    other_files: int
    """Published files whose bytes differ from the undisturbed run's."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "input": str(EXAMPLES / "animals.csv"),
        "rename": {"name": "animal"},
        "join": {"input": str(EXAMPLES / "outfits.csv"), "rename": {"animal_id": "id"}},
        "choices": {"season": ["spring", "summer", "autumn", "winter"]},
        "prompt": "{animal} wearing {outfit}, in {season}",
        "piece_rows": PIECE_ROWS,
        "enhance": {
            "model": str(save_tiny_language_model(folder / "llm")), "max_new_tokens": 24,
            "temperature": 0.9, "batch_size": 3, "system_prompt": ".",
        },
        "draw": {
            "model": str(save_tiny_stable_diffusion(folder / "sd", ancestral=True)),
            "num_steps": 30, "guidance_scale": 2.0, "batch_size": 5,
        },
    }  # fmt: skip


@contextlib.contextmanager
def started(settings: dict[str, Any], output: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own; what is left of it at the end is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "generate.yaml"
    file.write_text(json.dumps({**settings, "output": output}))  # JSON is YAML
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "darkroom", "generate", "--config", str(file)],
            stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_everything(process)


def kill_everything(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver and all that it started: GCS, raylet, workers."""
    driver = psutil.Process(process.pid)
    tree = [driver, *driver.children(recursive=True)]
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    psutil.wait_procs(tree, timeout=30)
    process.wait(timeout=30)


def complete(settings: dict[str, Any], output: str, folder: Path) -> Artifact:
    with started(settings, output, folder) as process:
        code = process.wait(timeout=WAIT_SECONDS)
        assert code == 0, (folder / "log").read_text()[-4000:]
    return open_artifact(output, kind="pictures")


def num_committed(output: str) -> int:
    """Pieces in the ledger."""
    return sum("/ledger/" in info.key for info in open_store(output).list("attempts/"))


def digests(artifact: Artifact) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in artifact.manifest.files}


def ids(artifact: Artifact) -> list[str]:
    names = [entry.name for entry in artifact.entries("data/")]
    return [row_id for name in names for row_id in artifact.read_table(name)["id"].to_pylist()]


@dataclass(frozen=True)
class Reference:
    """A run that nothing happened to."""

    settings: dict[str, Any]
    artifact: Artifact


@pytest.fixture(scope="module")
def undisturbed(
    s3: EmbeddedServer, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    output = f"s3://{TEST_BUCKET}/proof-{uuid.uuid4().hex}"
    return Reference(settings, complete(settings, output, tmp_path_factory.mktemp("undisturbed")))


@pytest.fixture(scope="module")
def figures() -> Iterator[list[Killed]]:
    killed: list[Killed] = []
    yield killed
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps([asdict(each) for each in killed], indent=1) + "\n")


@pytest.mark.parametrize("seed", range(NUM_KILLS))
def test_killed_at_a_random_moment_and_rerun(
    seed: int, undisturbed: Reference, figures: list[Killed], bucket_uri: str, tmp_path: Path
) -> None:
    moment = random.Random(seed)
    num_pieces = NUM_ROWS // PIECE_ROWS
    wait_for = moment.randrange(num_pieces - 3)
    with started(undisturbed.settings, bucket_uri, tmp_path) as process:
        limit = time.monotonic() + WAIT_SECONDS
        while num_committed(bucket_uri) < wait_for:
            assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
            assert time.monotonic() < limit
            time.sleep(0.01)
        time.sleep(moment.random() * 0.3)  # between two commits, in the midst of one
        kill_everything(process)
    committed = num_committed(bucket_uri) * PIECE_ROWS

    artifact = complete(undisturbed.settings, bucket_uri, tmp_path)

    expected, found = digests(undisturbed.artifact), digests(artifact)
    resumed = artifact.manifest.metadata["figures"]["num_resumed"]
    rows = ids(artifact)
    killed = Killed(
        seed=seed,
        committed_rows=committed,
        resumed_rows=resumed,
        redone_share=(NUM_ROWS - resumed) / max(1, NUM_ROWS - committed),
        lost_rows=NUM_ROWS - len(set(rows)),
        doubled_rows=len(rows) - len(set(rows)),
        other_files=sum(found.get(name) != digest for name, digest in expected.items()),
    )
    figures.append(killed)
    print(killed)  # noqa: T201 - the figure of this proof
    assert found == expected
    assert (killed.lost_rows, killed.doubled_rows, killed.redone_share) == (0, 0, 1.0)
