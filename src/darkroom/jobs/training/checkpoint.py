"""Checkpoints: publish them, move the run's pointer, find the one to resume from.

A checkpoint is an artifact of its own under `<output>/checkpoints/`, published by manifest
before the pointer names it (storage/pointer.py). Only rank 0 publishes, in a thread, one at a
time; a failed upload is raised at the next step. What is inside is Lightning's state file and
the metrics log with the pictures drawn so far.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darkroom.config import JobConfig
from darkroom.errors import FencedError, InputError, is_mendable
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.storage import (
    Artifact,
    BestCheckpoint,
    FileEntry,
    Parent,
    PartWriter,
    RunPointer,
    open_artifact,
    open_output,
    open_store,
    parse_uri,
)

STATE_FILE = "state.ckpt"
LIVE_PREFIX = "live"


@dataclass(frozen=True, slots=True)
class RunAddress:
    """Which run this is: where it publishes, and the driver that owns it now."""

    output: str
    owner: str


@dataclass(frozen=True, slots=True)
class CheckpointPlace:
    """Where one checkpoint is written, by one rank or by all."""

    uri: str
    attempt: str
    written: tuple[FileEntry, ...] = ()
    """What other ranks have put there already."""

    @classmethod
    def new(cls, output: str, step: int) -> CheckpointPlace:
        """A name of its own for each try: a redone step never writes where another lies."""
        name = f"checkpoints/step-{step:08d}-{secrets.token_hex(4)}"
        return cls(str(parse_uri(output) / name), uuid.uuid4().hex)

    @property
    def writer(self) -> PartWriter:
        """Writes files of this checkpoint."""
        return PartWriter(parse_uri(self.uri), self.attempt)


WriteState = Callable[[Path], CheckpointPlace]
"""Writes the state's file, by all ranks together; says where the checkpoint is to be."""


class CheckpointPublisher:
    """Publishes rank 0's checkpoints in order, each before the pointer names it.

    `ended` says why nothing is published any more: another driver took the run over, or there is
    something that the user must mend (`fault`).
    """

    def __init__(
        self,
        address: RunAddress,
        *,
        config: JobConfig,
        parents: Sequence[Parent],
        keep_last: int,
        asynchronous: bool,
        on_published: Callable[[int], None] = lambda _step: None,
    ) -> None:
        self._on_published = on_published
        self._address = address
        self._config = config
        self._parents = tuple(parents)
        self._keep_last = keep_last
        self._asynchronous = asynchronous
        self._pointer = RunPointer.attach(address.output, owner=address.owner)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self.ended: Literal["fenced", "fault"] | None = None
        self.fault: InputError | None = None

    def save(self, write_state: WriteState, log: MetricsLog, info: CheckpointInfo) -> None:
        """Write the state to a local file now, publish it in the background.

        Errors of the upload before this one are raised here.
        """
        self.wait()
        directory = Path(tempfile.mkdtemp(prefix="darkroom-checkpoint-"))
        try:
            # Every rank takes part, also where nothing is published any more: the others, who learn
            # of it a look later, would wait for this one.
            place = write_state(directory / STATE_FILE)
            log.write(directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if self.ended:
            shutil.rmtree(directory, ignore_errors=True)
            return
        self._pending = self._executor.submit(self._publish, directory, log.copy(), info, place)
        if not self._asynchronous:
            self.wait()

    def wait(self) -> None:
        """Wait for the upload under way; raise its error."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Wait for the last upload and end the thread."""
        try:
            self.wait()
        finally:
            self._executor.shutdown(wait=True)

    def _publish(
        self, directory: Path, log: MetricsLog, info: CheckpointInfo, place: CheckpointPlace
    ) -> None:
        try:
            artifact = publish_checkpoint(directory, info, self._config, self._parents, place)
            self._pointer.advance(
                step=info.step,
                checkpoint=artifact,
                best=self._best(info, artifact),
                keep=self._newest_kept(),
            )
            self._on_published(info.step)
            self._show_live(directory, log)
        except FencedError:
            self.ended = "fenced"
        except InputError as error:
            if not is_mendable(error):
                raise
            self.ended, self.fault = "fault", error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _best(self, info: CheckpointInfo, artifact: Artifact) -> BestCheckpoint | None:
        best, loss = self._pointer.state.best, info.validation_loss
        if loss is None or (best is not None and best.metric <= loss):
            return None
        return BestCheckpoint(info.step, loss, self._pointer.relative(artifact))

    def _newest_kept(self) -> list[str]:
        """The earlier checkpoints that stay beside the new one."""
        newest = sorted(self._pointer.state.kept, key=lambda item: item.step)
        return [item.checkpoint for item in newest[len(newest) - self._keep_last + 1 :]]

    def _show_live(self, directory: Path, log: MetricsLog) -> None:
        """Put the curves so far where `tensorboard --logdir` finds them during the run."""
        events = log.write_tensorboard(directory / "tensorboard")
        store = open_store(parse_uri(self._address.output) / LIVE_PREFIX)
        store.upload(events, f"tensorboard/{events.name}")


def publish_checkpoint(
    directory: Path,
    info: CheckpointInfo,
    config: JobConfig,
    parents: Sequence[Parent],
    place: CheckpointPlace,
) -> Artifact:
    """Publish a folder as one checkpoint artifact of the run; visible only when complete."""
    with open_output(
        place.uri, kind=Kind.CHECKPOINT, config=config, parents=parents,
        attempt=lambda _replaced: place.attempt,
    ) as target:  # fmt: skip
        files = target.writer.write_tree(directory)
        return target.publish([*files, *place.written], metadata=info.to_metadata())


def resolve_checkpoint(
    address: RunAddress, directory: Path, warn: Callable[[str], None]
) -> Artifact | None:
    """The newest checkpoint that verifies, downloaded there; None at the run's start.

    `warn` is told of each newer one that does not verify.
    Errors: FencedError, IntegrityError when there are checkpoints and none verifies.
    """
    pointer = RunPointer.attach(address.output, owner=address.owner)
    valid = pointer.newest_valid(directory)
    if valid is None:
        return None
    for skipped in valid.skipped:
        warn(
            f"checkpoint of step {skipped.step} is damaged ({skipped.reason}); "
            f"resuming from step {valid.step}"
        )
    return valid.artifact


def checkpoint_to_export(pointer: RunPointer, export: str) -> Artifact | None:
    """The checkpoint that becomes the model; None while training is not finished."""
    state = pointer.state
    if state.checkpoint is None:
        return None
    newest = open_artifact(pointer.output / state.checkpoint, kind=Kind.CHECKPOINT)
    if not CheckpointInfo.of(newest).finished:
        return None
    valid = pointer.newest_valid()
    if valid is None or valid.artifact.digest != newest.digest:
        return None  # The last one is damaged: train again from the one before.
    if export == "best" and state.best is not None:
        return open_artifact(pointer.output / state.best.checkpoint, kind=Kind.CHECKPOINT)
    return newest
