"""Proof: studies of real runs on digits end the same, whatever is killed, and never block.

A grid of 6, two of whose trials crash, and a search of 12 with halving, each killed (SIGKILL) twice
and gone on with by the same command, are held against undisturbed ones: the same trials, values,
decisions and endings. Two studies on one Ray with fewer CPUs than both want come to their ends.
`build/proofs/tune.json` keeps the figures.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.proof import keep
from tests.helpers.tiny_artifacts import publish_digits
from tests.helpers.training import Run, running, wait_until
from tests.helpers.tune_runs import RUN, shown, study_config, study_values, trials_of

from darkroom.jobs.artifacts.study import StudyInfo
from darkroom.jobs.session import ray_session
from darkroom.storage import open_artifact, open_store

pytestmark = pytest.mark.timeout(7200)

UNBOUNDED = {
    **RUN, "optimizer": {"max_grad_norm": None}, "lr_schedule": {"warmup_steps": 0},
}  # fmt: skip
"""So that a learning rate of 1e30 ends in a loss that is not finite."""
GRID: dict[str, Any] = {
    "search": {"kind": "grid"},
    "run": UNBOUNDED,
    "space": {
        "optimizer.learning_rate": {"kind": "choice", "values": [1e-3, 1e-2, 1e30]},
        "ema.decay": {"kind": "choice", "values": [0.8, 0.9]},
    },
}
SEARCH: dict[str, Any] = {
    "search": {"kind": "bayes", "num_trials": 12, "num_random": 6},
    "halving": {"first_rung": 4, "reduction_factor": 2},
    "run": UNBOUNDED,
    "space": {
        "optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "lr_schedule.kind": {"kind": "choice", "values": ["constant", "cosine"]},
        "lr_schedule.final_scale": {
            "kind": "float", "low": 0.0, "high": 0.5, "when": {"lr_schedule.kind": ["cosine"]},
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def data(root: Path) -> str:
    publish_digits(root / "data")
    return str(root / "data")


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    yield kept
    keep("tune", kept)


def num_begun(output: str) -> int:
    """Trials that have a run."""
    store = open_store(f"{output}/trials")
    return sum(1 for _ in store.children())


def to_the_end(values: dict[str, Any], folder: Path) -> None:
    with running("tune", values, folder) as run:
        assert run.wait() == 0, run.log.read_text()[-4000:]


@pytest.mark.parametrize(("name", "settings"), [("grid", GRID), ("search", SEARCH)])
def test_killed_twice_a_study_ends_as_the_undisturbed_one(
    name: str, settings: dict[str, Any], root: Path, data: str, rows: list[dict[str, Any]]
) -> None:
    calm, hit = (str(root / f"{name}-{how}") for how in ("calm", "hit"))
    began = time.monotonic()
    to_the_end(study_values(data, calm, **settings), root / "logs")
    seconds = time.monotonic() - began
    for kill in (2, 4):
        with running("tune", study_values(data, hit, **settings), root / "logs") as run:

            def reached(kill: int = kill) -> bool | None:
                return num_begun(hit) >= kill or None

            wait_until(reached, f"trial {kill}", run)
            run.kill_everything()
    to_the_end(study_values(data, hit, **settings), root / "logs")
    ended = {place: trials_of(study_config(data, place, **settings)) for place in (calm, hit)}
    assert shown(ended[hit]) == shown(ended[calm])
    infos = [StudyInfo.of(open_artifact(place)) for place in (calm, hit)]
    assert infos[0].best == infos[1].best
    assert infos[0].best_value == infos[1].best_value
    states: Counter[str] = Counter(trial.ending.state for trial in ended[hit])
    assert sum(states.values()) == (6 if name == "grid" else 12)
    assert states["failed" if name == "grid" else "stopped"] >= 2
    rows.append(
        {
            "study": name, **states, "best": infos[0].best_value, "best_trial": infos[0].best_trial,
            "undisturbed_seconds": round(seconds, 1),
            "starts": [trial.num_starts for trial in ended[hit]],
            "worker_seconds": [round(info.worker_seconds, 1) for info in infos],
        }
    )  # fmt: skip


@contextlib.contextmanager
def crowded_ray() -> Iterator[None]:
    """Three CPUs, and their address where commands look for it."""
    import ray

    with ray_session(3):
        before = os.environ.get("RAY_ADDRESS")
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        try:
            yield
        finally:
            if before is None:
                del os.environ["RAY_ADDRESS"]
            else:
                os.environ["RAY_ADDRESS"] = before


def test_two_studies_that_want_more_than_there_is_come_to_their_ends(
    root: Path, data: str, rows: list[dict[str, Any]]
) -> None:
    gang = {**RUN, "workers": {"num_workers": 2}}
    studies = [
        study_values(
            data, str(root / f"crowded-{number}"), run=gang, trials_at_once=2,
            search={"kind": "bayes", "num_trials": 2, "num_random": 2}, seed=number,
        )
        for number in range(2)
    ]  # fmt: skip
    began = time.monotonic()
    with crowded_ray(), contextlib.ExitStack() as stack:
        runs: list[Run] = [
            stack.enter_context(running("tune", values, root / "logs")) for values in studies
        ]
        codes = [run.wait() for run in runs]
    assert codes == [0, 0], [run.log.read_text()[-3000:] for run in runs]
    infos = [StudyInfo.of(open_artifact(values["output"])) for values in studies]
    assert [info.num_trials for info in infos] == [{"complete": 2}] * 2
    rows.append({"study": "two of gangs of 2 on 3 CPUs", "seconds": time.monotonic() - began})
