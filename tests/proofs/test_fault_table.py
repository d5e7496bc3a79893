"""Proof: what each fault of the network, the server and the machine does to a whole run.

A run is prepare, train and sample as users start them, with the fault proxy before the real S3
server. Each row of the table says whether it completed or stopped with one clear line, and what
that cost; afterwards the same commands always complete, with the very bytes of an undisturbed
run. `build/proofs/fault_table.json` has the rows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import TEST_BUCKET
from tests.helpers.fault_proxy import ONE_SHOT, Fault, FaultKind, FaultProxy
from tests.helpers.proof import keep
from tests.helpers.training import WEIGHTS, pointer_of

from darkroom.errors import ObjectNotFoundError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.storage import EmbeddedServer, open_artifact, open_store

STEPS = 60
EVERY = 10
HANG_SECONDS = 5
TRAIN = [
    *("--recipe", "digits_smoke", "--set", f"max_steps={STEPS}"),
    *("--set", f"checkpoint.every_steps={EVERY}", "--set", "validation.every_steps=30"),
    *("--set", f"workers.hang_timeout_seconds={HANG_SECONDS}"),
]
SAMPLE = ["--recipe", "digits_smoke", "--set", "num_images=20", "--set", "batch_size=10"]


@dataclass
class Outcome:
    """What came of one pass over the three commands."""

    codes: dict[str, int] = field(default_factory=dict)
    last_lines: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """A run's outputs."""

    uri: str

    def commands(self) -> dict[str, list[str]]:
        data, model = f"{self.uri}/data", f"{self.uri}/model"
        return {
            "prepare": ["--recipe", "digits_smoke", "--output", data],
            "train": [*TRAIN, "--input", data, "--output", model],
            "sample": [*SAMPLE, "--input", model, "--output", f"{self.uri}/samples"],
        }

    def digests(self) -> dict[str, Any]:
        """What must be equal in two runs."""
        model = open_artifact(f"{self.uri}/model")
        samples = open_artifact(f"{self.uri}/samples")
        return {
            "rows": [entry.sha256 for entry in open_artifact(f"{self.uri}/data").entries("data/")],
            "weights": model.entry(WEIGHTS).sha256,
            "losses": model.read_table("metrics.parquet")["loss"].to_pylist(),
            "pictures": [entry.sha256 for entry in samples.entries("images/")],
        }

    def lost_and_doubled(self) -> tuple[int, int]:
        """Rows of the data against the 400 that the recipe takes."""
        data = open_artifact(f"{self.uri}/data")
        names = [
            n for e in data.entries("data/") for n in data.read_table(e.name)["id"].to_pylist()
        ]
        counts = Counter(names)
        return 400 - len(counts), len(names) - len(counts)

    def num_bad_publishes(self) -> int:
        """Manifests whose files are not all there, whole."""
        store = open_store(self.uri)
        manifests = [i.key for i in store.list() if i.key.endswith("/manifest.json")]
        bad = 0
        for key in manifests:
            try:
                open_artifact(f"{self.uri}/{key.removesuffix('/manifest.json')}").verify()
            except Exception:  # noqa: BLE001  (counted)
                bad += 1
        return bad


def run_all(
    place: Place, folder: Path, during: dict[str, Callable[[subprocess.Popen[str]], None]]
) -> Outcome:
    """Run the commands until one fails; `during` works beside a command's process."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome()
    start = time.monotonic()
    for verb, arguments in place.commands().items():
        command = [sys.executable, "-m", "darkroom", verb, "--resume", *arguments]
        with (folder / f"{verb}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
            beside = None
            if verb in during:
                beside = threading.Thread(target=during[verb], args=(process,), daemon=True)
                beside.start()
            outcome.codes[verb] = process.wait(timeout=900)
            if beside is not None:
                beside.join()
        lines = (folder / f"{verb}.log").read_text().splitlines() or [""]
        outcome.last_lines[verb] = lines[-1]
        if outcome.codes[verb] != 0:
            break
    outcome.seconds = time.monotonic() - start
    return outcome


def at_step(place: Place, step: int, act: Callable[[subprocess.Popen[str]], None]) -> Any:
    """Something to do once a checkpoint of `step` is published."""

    def wait_and_act(process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            try:
                state = pointer_of(f"{place.uri}/model")
            except ObjectNotFoundError:
                state = None
            if state is not None and state.step >= step:
                act(process)
                return
            time.sleep(0.05)

    return wait_and_act


def tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The driver and everything that it started."""
    driver = psutil.Process(process.pid)
    return [driver, *driver.children(recursive=True)]


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver and its Ray."""
    for one in tree(process):
        with _gone_is_fine():
            one.send_signal(signal.SIGKILL)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def signal_worker(number: signal.Signals) -> Callable[[subprocess.Popen[str]], None]:
    """Send a signal to the training worker."""

    def act(process: subprocess.Popen[str]) -> None:
        for one in tree(process):
            with _gone_is_fine():
                if "TrainWorker" in " ".join(one.cmdline()):
                    one.send_signal(number)

    return act


@pytest.fixture(scope="module")
def proxy(s3: EmbeddedServer) -> Iterator[FaultProxy]:
    """One proxy, which the environment of every command names."""
    with FaultProxy(s3.endpoint) as fault_proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL_S3", fault_proxy.endpoint)
        environment.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        yield fault_proxy


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, Any]]]:
    """The rows, kept at the end."""
    rows: list[dict[str, Any]] = []
    yield rows
    keep("fault_table", rows)


@pytest.fixture(scope="module")
def reference(
    proxy: FaultProxy, table: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What an undisturbed run gives."""
    place = new_place()
    outcome = run_all(place, tmp_path_factory.mktemp("reference"), {})
    assert set(outcome.codes.values()) == {0}, outcome
    assert proxy.num_calls > 100
    table.append({"fault": "none", "outcome": "completes", "seconds": round(outcome.seconds, 1)})
    return place.digests()


def cost(place: Place) -> dict[str, Any]:
    """Steps that were trained twice, and the last attempt's seconds to its first step."""
    account = ModelInfo.of(open_artifact(f"{place.uri}/model")).account
    assert account is not None
    attempts = account.attempts
    redone = [max(0, a.last_step - b.first_step) for a, b in pairwise(attempts)]
    return {
        "steps_redone": sum(redone),
        "seconds_to_resume": round(attempts[-1].seconds["startup"], 1) if redone else None,
    }


def new_place() -> Place:
    return Place(f"s3://{TEST_BUCKET}/faults-{uuid.uuid4().hex[:12]}")


@dataclass(frozen=True)
class Trial:
    """One row of the table in the making."""

    proxy: FaultProxy
    reference: dict[str, Any]
    table: list[dict[str, Any]]
    place: Place
    folder: Path

    def run(self, during: Callable[[subprocess.Popen[str]], None] | None = None) -> Outcome:
        """All commands, with something happening while the first checkpoints appear."""
        beside = {"train": at_step(self.place, 2 * EVERY, during)} if during else {}
        return run_all(self.place, self.folder, beside)

    def judge(self, name: str, outcome: Outcome, *, completes: bool, says: str = "") -> None:
        """Assert the outcome, run again to the end, compare, and add the table's row."""
        stopped = [verb for verb, code in outcome.codes.items() if code != 0]
        assert bool(stopped) != completes, (name, outcome)
        last = outcome.last_lines[stopped[0]] if stopped else ""
        log = "".join(path.read_text() for path in self.folder.rglob("train.log"))
        bad_publishes = self.place.num_bad_publishes()
        at_stop = pointer_of(f"{self.place.uri}/model") if stopped else None
        rerun = run_all(self.place, self.folder / "rerun", {}) if stopped else outcome
        assert set(rerun.codes.values()) == {0}, rerun
        digests = self.place.digests()
        differing = [key for key in digests if digests[key] != self.reference[key]]
        lost, doubled = self.place.lost_and_doubled()
        self.table.append(
            {
                "fault": name,
                "outcome": f"stops: {last}" if stopped else "completes",
                "seconds": round(outcome.seconds, 1),
                "rerun_seconds": round(rerun.seconds, 1) if stopped else 0,
                "resumed_from_step": at_stop.step if at_stop else None,
                **cost(self.place),
                "rows_lost": lost,
                "rows_duplicated": doubled,
                "bad_publishes": bad_publishes,
                "differing": differing,
            }
        )
        assert (lost, doubled, bad_publishes, differing) == (0, 0, 0, [])
        assert says in last + log


@pytest.fixture
def trial(
    proxy: FaultProxy, reference: dict[str, Any], table: list[dict[str, Any]], tmp_path: Path
) -> Trial:
    """A fresh place for the commands to publish to."""
    return Trial(proxy, reference, table, new_place(), tmp_path / "logs")


@pytest.mark.parametrize("kind", ONE_SHOT)
def test_one_call_in_seven(kind: FaultKind, trial: Trial) -> None:
    fault = Fault(kind, first=3, every=7, count=None)
    with trial.proxy.inject(fault):
        outcome = trial.run()
    assert fault.num_struck > 20
    trial.judge(f"{kind} at every 7th call ({fault.num_struck})", outcome, completes=True)


def test_down_for_30_seconds(trial: Trial) -> None:
    def outage(_: subprocess.Popen[str]) -> None:
        with trial.proxy.outage():
            time.sleep(30)  # the fault itself

    trial.judge("server down for 30 s", trial.run(outage), completes=True)


@pytest.mark.parametrize(
    ("kind", "says"), [("expired_token", "expired"), ("skewed_clock", "clock")]
)
def test_refused_from_the_middle_of_training_on(kind: FaultKind, says: str, trial: Trial) -> None:
    with ExitStack() as stack:
        outcome = trial.run(
            lambda _: stack.enter_context(trial.proxy.inject(Fault(kind, count=None)))
        )
    assert outcome.codes["train"] == 2
    trial.judge(kind, outcome, completes=False, says=says)


def test_worker_killed(trial: Trial) -> None:
    outcome = trial.run(signal_worker(signal.SIGKILL))
    trial.judge("worker SIGKILLed", outcome, completes=True)


def test_worker_stopped_is_named(trial: Trial) -> None:
    outcome = trial.run(signal_worker(signal.SIGSTOP))
    name = f"worker SIGSTOPped (limit {HANG_SECONDS} s)"
    trial.judge(name, outcome, completes=True, says="rank 0 (pid")


def test_driver_and_ray_killed(trial: Trial) -> None:
    trial.judge("driver and Ray SIGKILLed", trial.run(kill_all), completes=False)


def test_killed_during_the_upload_of_a_checkpoint(trial: Trial) -> None:
    def kill_in_upload(process: subprocess.Popen[str]) -> None:
        # Answers come slowly: the state is sent, and the checkpoint not yet published.
        held = Fault("trickle", method="PUT", suffix="/state.ckpt", count=None)
        with trial.proxy.inject(held):
            while held.num_struck == 0 and process.poll() is None:
                time.sleep(0.005)
            kill_all(process)

    trial.judge("killed in a checkpoint's upload", trial.run(kill_in_upload), completes=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_full(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=True)
    try:
        with monkeypatch.context() as environment:
            environment.setenv("TMPDIR", str(small))
            outcome = trial.run()
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert outcome.codes["train"] == 2
    trial.judge("disk full", outcome, completes=False, says="TMPDIR")
