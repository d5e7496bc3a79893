"""Proof: the node of a training run goes, again and again: drained with notice, or all at once.

Real nodes of Ray on this machine (`tests/helpers/ray_nodes.py`). With notice (SIGTERM to
`ray start`, as the charts' preStop sends it) a run saves twice and takes no step after that, so at
most one step is done again. Without, at most the steps since the newest checkpoint are. A node
goes after more steps each time, spread over the interval between two checkpoints.
`DARKROOM_PROOF_SEEDS` says how many nodes go in either way (10); `build/proofs/drains.json`
has a row for each.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.proof import keep
from tests.helpers.ray_nodes import Node, Nodes, ray_nodes
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import WAIT_SECONDS, Run, started, train_config, wait_until

NUM_NODES = int(os.environ.get("DARKROOM_PROOF_SEEDS", "10"))
DRAIN_SECONDS = 45.0
"""Of the charts: a worker's grace period of 60 s less 15."""
EVERY_STEPS = 200
TRAINER = "RayTrainWorker"


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("drains", kept)


def attempts_of(output: Path) -> list[dict[str, Any]]:
    """What the run's own account says of its starts so far."""
    records = sorted((output / "goodput").glob("*.json"))
    return [one for record in records for one in json.loads(record.read_text())["attempts"]]


def lose_nodes(
    output: Path, folder: Path, end: Callable[[Node], None]
) -> tuple[list[dict[str, Any]], str]:
    """A run whose node goes NUM_NODES times; its attempts, and its log."""
    publish_digits(folder / "data")
    config = train_config(
        str(folder / "data"), str(output), max_steps=10**6,
        checkpoint={"every_steps": EVERY_STEPS, "asynchronous": True},
        validation={"every_steps": 10**6}, log_every_steps=50,
        workers={"num_workers": 1, "max_failures": NUM_NODES},
    )  # fmt: skip
    with ray_nodes(folder, drain_seconds=DRAIN_SECONDS) as nodes:
        present = [nodes.add(2), nodes.add(2)]
        environment = {"RAY_ADDRESS": nodes.address}
        with started(config, folder, environment) as run:
            for number in range(NUM_NODES):
                wait_for_steps(run, output, number)
                present = replaced(nodes, present, end)
            wait_for_steps(run, output, NUM_NODES)
            run.process.send_signal(signal.SIGTERM)
            assert run.wait() == 128 + signal.SIGTERM, run.log.read_text()[-4000:]
            return attempts_of(output), run.log.read_text()


def wait_for_steps(run: Run, output: Path, num_lost: int) -> None:
    """Until the start after so many losses has done its part of the interval."""
    steps = EVERY_STEPS * (2 * (num_lost % NUM_NODES) + 1) // (2 * NUM_NODES)

    def done() -> bool | None:
        attempts = attempts_of(output)
        if len(attempts) <= num_lost:
            return None
        return attempts[-1]["last_step"] - attempts[-1]["first_step"] >= steps or None

    wait_until(done, f"{steps} steps of start {num_lost + 1}", run, every_seconds=0.5)


def replaced(nodes: Nodes, present: list[Node], end: Callable[[Node], None]) -> list[Node]:
    """The nodes after the trainer's one went and another came."""
    limit = time.monotonic() + WAIT_SECONDS
    while not (victims := [node for node in present if node.runs(TRAINER)]):
        assert time.monotonic() < limit, "no node has the trainer"
        time.sleep(0.5)
    end(victims[0])
    victims[0].wait()
    return [*(node for node in present if node is not victims[0]), nodes.add(2)]


def steps_redone(attempts: list[dict[str, Any]]) -> list[int]:
    """Of each loss: the steps that the next start did again."""
    return [
        before["last_step"] - after["first_step"] for before, after in itertools.pairwise(attempts)
    ]


@pytest.mark.parametrize("how", ["drained with notice", "killed without"])
def test_a_node_goes(how: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    end, most = (Node.drain, 1) if how == "drained with notice" else (Node.kill, 2 * EVERY_STEPS)
    attempts, log = lose_nodes(tmp_path / "model", tmp_path, end)
    redone = steps_redone(attempts)
    rows.extend({"how": how, "steps_redone": steps} for steps in redone)
    assert len(redone) == NUM_NODES, log[-3000:]
    assert max(redone) <= most, redone
    # A run that saw no notice would pass only by luck; one that counts a loss as a failure ends.
    assert "all restarts are used up" not in log
