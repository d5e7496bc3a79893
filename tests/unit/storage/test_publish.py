"""The publish protocol as a state machine: whatever happens, readers see one whole artifact.

Several attempts at one output are open at once; they write, publish, crash, and gc runs in
between. A model says who may win; after every step what is published must be the model's,
byte for byte. Runs on local files; tests/integration holds S3 to the same promises.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from darkroom.config import JobConfig, OnExisting
from darkroom.errors import (
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    PreconditionFailedError,
)
from darkroom.storage import FileEntry, Output, gc, open_artifact, open_output

NAMES = st.sampled_from(["a", "data/b", "data/c"])


@dataclass
class Attempt:
    """An open output and what the model knows of it."""

    output: Output
    seed: int
    saw: str | None
    """The attempt that was published when this one was opened."""
    files: dict[str, tuple[FileEntry, bytes]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    """Files that gc has taken, and that were not written again."""
    done: bool = False


@dataclass
class Published:
    attempt: str
    seed: int
    files: dict[str, bytes]


class PublishMachine(RuleBasedStateMachine):
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.uri = f"file://{self.folder}/output"
        self.published: Published | None = None
        self.open: list[Attempt] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(
        target=attempts,
        policy=st.sampled_from(["refuse", "resume", "overwrite"]),
        seed=st.integers(0, 1),
    )
    def begin(self, policy: OnExisting, seed: int) -> Attempt | None:
        config = JobConfig(output=self.uri, on_existing=policy, seed=seed)
        there = self.published
        refused = there is not None and (
            policy == "refuse" or (policy == "resume" and there.seed != seed)
        )
        if refused:
            with pytest.raises(OutputExistsError):
                open_output(self.uri, kind="dataset", config=config)
            return None
        output = open_output(self.uri, kind="dataset", config=config)
        if there is not None and policy == "resume":
            assert output.completed is not None
            assert output.completed.manifest.attempt == there.attempt
            return None
        assert output.completed is None
        attempt = Attempt(output, seed, there.attempt if there else None)
        self.open.append(attempt)
        return attempt

    @rule(attempt=attempts, name=NAMES, data=st.binary(max_size=8))
    def write(self, attempt: Attempt | None, name: str, data: bytes) -> None:
        if attempt is None or attempt.done:
            return
        entry = attempt.output.writer.write_bytes(name, data)
        attempt.files[name] = (entry, data)
        attempt.lost.discard(name)

    @rule(attempt=attempts)
    def publish(self, attempt: Attempt | None) -> None:
        if attempt is None or attempt.done:
            return
        entries = [entry for entry, _ in attempt.files.values()]
        current = self.published.attempt if self.published else None
        if attempt.lost:
            with pytest.raises(IntegrityError, match="the store holds nothing"):
                attempt.output.publish(entries)
        elif current != attempt.saw:
            with pytest.raises(PreconditionFailedError, match="another job published here first"):
                attempt.output.publish(entries)
        else:
            artifact = attempt.output.publish(entries)
            files = {name: data for name, (_, data) in attempt.files.items()}
            self.published = Published(artifact.manifest.attempt, attempt.seed, files)
        attempt.done = True

    @rule(delete=st.booleans())
    def collect(self, delete: bool) -> None:
        report = gc(self.uri, timedelta(seconds=-1), delete=delete)
        named = self.published.attempt if self.published else None
        unnamed = {
            attempt.output.attempt
            for attempt in self.open
            if attempt.files.keys() - attempt.lost and attempt.output.attempt != named
        }
        found = {item.key.split("/")[1] for item in report.garbage if item.kind == "attempt"}
        assert found >= unnamed
        assert named not in found
        if delete:
            for attempt in self.open:
                if attempt.output.attempt in found:
                    attempt.lost = set(attempt.files)

    @invariant()
    def readers_see_what_was_published(self) -> None:
        if self.published is None:
            with pytest.raises(ObjectNotFoundError):
                open_artifact(self.uri)
            return
        artifact = open_artifact(self.uri)
        assert artifact.manifest.attempt == self.published.attempt
        assert artifact.manifest.config["seed"] == self.published.seed
        contents = {entry.name: artifact.read_bytes(entry.name) for entry in artifact.entries()}
        assert contents == self.published.files


TestPublishMachine = PublishMachine.TestCase
TestPublishMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
