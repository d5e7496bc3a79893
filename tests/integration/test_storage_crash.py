"""A process is killed at every step of publishing and of moving the pointer.

Afterwards nothing bad is published, the same command run again completes, and gc leaves only
what a manifest or the pointer names. The processes are forked from one helper that has loaded
everything, so that a sweep takes seconds; each is killed by SIGKILL at its failpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import darkroom
from darkroom.errors import ObjectNotFoundError
from darkroom.storage import (
    Artifact,
    EmbeddedServer,
    RunPointer,
    gc,
    open_artifact,
    open_store,
)
from darkroom.storage.failpoint import FAILPOINTS, LOCAL_FAILPOINTS, S3_FAILPOINTS

SIGKILL = 9
NUM_STEPS = 3

HELPER = '''
import os, sys
import boto3, botocore.config
from darkroom.config import JobConfig
from darkroom.errors import DarkroomError
from darkroom.storage import RunPointer, open_artifact, open_output
from darkroom.storage.s3_parts import PART_BYTES
import darkroom.storage.s3, darkroom.storage.local, darkroom.storage.probe

def publish(uri, kind, files):
    config = JobConfig(output=uri, on_existing="resume")
    with open_output(uri, kind=kind, config=config) as output:
        if output.completed is not None:
            return output.completed
        return output.publish([output.writer.write_bytes(n, d) for n, d in files.items()])

def train(uri, owner, large):
    """A run in miniature: checkpoints with retention, then the model (large: in parts)."""
    config = JobConfig(output=uri, on_existing="resume")
    pointer = RunPointer.claim(uri, owner=owner, config=config)
    found = pointer.newest_valid()
    for step in range((found.step if found else 0) + 1, NUM_STEPS + 1):
        checkpoint = publish(f"{uri}/checkpoints/step-{step}-{owner}", "checkpoint",
                             {"state": b"%d" % step})
        pointer.advance(step=step, checkpoint=checkpoint, keep=[])
    final = pointer.newest_valid()
    files = {"model/weights": final.artifact.read_bytes("state")}
    if large:
        files["model/large"] = b"x" * (PART_BYTES + 1)
    publish(uri, "model", files)

for line in sys.stdin:
    uri, owner, failpoint = line.split()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.environ["DARKROOM_FAILPOINT"] = "" if failpoint == "none" else failpoint
        try:
            train(uri, owner, large=failpoint.startswith("s3."))
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''


class Runner:
    """Runs `train` in a fresh process that dies at a failpoint."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HELPER.replace("NUM_STEPS", str(NUM_STEPS))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
            text=True,
        )

    def train(self, uri: str, owner: str, failpoint: str = "none") -> int:
        """The exit code; -9 when it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{uri} {owner} {failpoint}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def runner(s3: EmbeddedServer) -> Iterator[Runner]:
    """The helper process, which knows the S3 server from its environment."""
    helper = Runner()
    yield helper
    helper.close()


def _assert_nothing_bad(uri: str) -> None:
    """Whatever is published is whole; whatever the pointer names is there."""
    for published in _published(uri):
        published.verify()
    try:
        pointer = RunPointer.attach(uri, owner="dead")
    except ObjectNotFoundError:
        return
    state = pointer.state
    for kept in state.kept:
        artifact = open_artifact(f"{uri}/{kept.checkpoint}")
        assert artifact.digest == kept.digest
        artifact.verify()
    assert (state.checkpoint is None) == (state.step == 0)


def _published(uri: str) -> list[Artifact]:
    store = open_store(uri)
    folders = ["", *(f"checkpoints/{name}" for name, _ in store.children("checkpoints/"))]
    found = []
    for folder in folders:
        try:
            found.append(open_artifact(f"{uri}/{folder}".rstrip("/")))
        except ObjectNotFoundError:
            continue
    return found


def _assert_complete(uri: str) -> None:
    model = open_artifact(uri, kind="model")
    assert model.read_bytes("model/weights") == b"%d" % NUM_STEPS
    state = RunPointer.attach(uri, owner="rerun").state
    assert state.step == NUM_STEPS


def _assert_clean_after_gc(uri: str) -> None:
    gc(uri, timedelta(seconds=-2), delete=True)
    store = open_store(uri)
    named = {"manifest.json", "latest.json"}
    for artifact in _published(uri):
        folder = str(artifact.uri).removeprefix(uri).lstrip("/")
        prefix = f"{folder}/" if folder else ""
        named |= {prefix + "manifest.json", *(prefix + e.key for e in artifact.manifest.files)}
    assert {info.key for info in store.list()} == named
    assert list(store.unfinished()) == []
    _assert_only_kept_checkpoints(uri)


def _assert_only_kept_checkpoints(uri: str) -> None:
    state = RunPointer.attach(uri, owner="rerun").state
    published = {str(a.uri).removeprefix(f"{uri}/") for a in _published(uri)}
    assert {name for name in published if name.startswith("checkpoints/")} == {
        kept.checkpoint for kept in state.kept
    }


# The first passing of each, and for those that every write passes one in the middle too.
CRASHES = [
    *FAILPOINTS,
    "publish.after-part:3",
    "publish.after-manifest:3",
    "pointer.after-advance:3",
]
LOCAL_CRASHES = [f"{name}{nth}" for name in LOCAL_FAILPOINTS for nth in ("", ":2", ":5", ":6")]


def _sweep(runner: Runner, uri: str, crash: str) -> None:
    assert runner.train(uri, "dead", crash) == -SIGKILL
    _assert_nothing_bad(uri)
    assert runner.train(uri, "rerun") == 0
    _assert_complete(uri)
    if "retire" in crash or crash == "pointer.after-advance:3":
        _assert_only_kept_checkpoints(uri)  # the next move has finished the deletion, without gc
    _assert_clean_after_gc(uri)
    _assert_complete(uri)


@pytest.mark.parametrize("crash", [*CRASHES, *LOCAL_CRASHES])
def test_a_crash_on_local_files(runner: Runner, local_uri: str, crash: str) -> None:
    _sweep(runner, local_uri, crash)


@pytest.mark.parametrize("crash", [*CRASHES, *S3_FAILPOINTS])
def test_a_crash_on_s3(runner: Runner, bucket_uri: str, crash: str) -> None:
    _sweep(runner, bucket_uri, crash)


def test_crash_after_crash(runner: Runner, bucket_uri: str) -> None:
    """Killed at one step after another of the same run, it still completes."""
    for number, crash in enumerate(FAILPOINTS):
        runner.train(bucket_uri, f"driver-{number}", crash)
        for published in _published(bucket_uri):
            published.verify()
    assert runner.train(bucket_uri, "rerun") == 0
    _assert_complete(bucket_uri)
    _assert_clean_after_gc(bucket_uri)
