"""The moving pointer of a training run, `<output>/latest.json`, moved by compare-and-swap only.

It names the newest checkpoint, the best one and those that are kept, and the driver that owns
the run. The newest driver to `claim` wins; every write of an older one is refused (FencedError).
The step never goes backwards, except when `newest_valid` finds the newest checkpoint damaged
and says so. A checkpoint is deleted only after the pointer has stopped naming it: it stands in
`retired` until its files are gone, so a crash between the two is finished by the next move.

Checkpoints themselves are ordinary artifacts under `<output>/checkpoints/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from darkroom.errors import (
    DataError,
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from darkroom.storage.artifact import Artifact, open_artifact
from darkroom.storage.failpoint import failpoint
from darkroom.storage.manifest import (
    CHECKPOINTS_PREFIX,
    MANIFEST_KEY,
    POINTER_KEY,
    Parent,
    read_twice,
    utc_now,
)
from darkroom.storage.pointer_state import (
    BestCheckpoint,
    KeptCheckpoint,
    PointerState,
    advanced,
    as_best,
    claimed,
    fallen_back,
    parse_pointer,
)
from darkroom.storage.probe import require_conditional_writes
from darkroom.storage.publish import read_manifest
from darkroom.storage.store import ObjectStore
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri

if TYPE_CHECKING:
    from darkroom.config import JobConfig

MAX_MOVES = 20
"""Lost compare-and-swaps in a row after which something other than a race is at work."""


@dataclass(frozen=True, slots=True)
class SkippedCheckpoint:
    """A checkpoint that the pointer names and that cannot be used, and why."""

    step: int
    checkpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class ValidCheckpoint:
    """The newest checkpoint whose every byte verified, and the newer ones that did not."""

    step: int
    artifact: Artifact
    skipped: tuple[SkippedCheckpoint, ...] = ()


class RunPointer:
    """This process's hold on a run's pointer; `state` is what it last read or wrote."""

    def __init__(self, output: Uri, owner: str, state: PointerState, etag: str) -> None:
        self.output = output
        self.owner = owner
        self.state = state
        self._etag = etag

    def __repr__(self) -> str:
        return f"RunPointer({str(self.output)!r}, owner={self.owner!r}, step={self.state.step})"

    @classmethod
    def claim(
        cls,
        output_uri: Uri | str,
        *,
        owner: str,
        config: JobConfig,
        parents: Sequence[Parent] = (),
    ) -> Self:
        """Make the run's pointer, or take over the one that is there.

        Errors: OutputExistsError naming the differing field when the run there has another
        config or other parents (unless the config says overwrite).
        """
        output = parse_uri(output_uri, field="output")
        store = open_store(output)
        require_conditional_writes(store)
        fresh = PointerState(
            owner=owner,
            generation=1,
            config=config.to_dict(),
            config_digest=config.digest,
            parents=tuple(parents),
        )
        if config.on_existing == "overwrite":
            published = read_manifest(store)
            fresh = replace(fresh, supersedes=published.digest if published else None)
        for _ in range(MAX_MOVES):
            current, etag = read_pointer(store)
            if current is not None and current.owner == owner:
                return cls(output, owner, current, etag)
            state = claimed(output, current, fresh, config, parents)
            failpoint("pointer.before-claim")
            written = _write(store, state, etag)
            failpoint("pointer.after-claim")
            if written is not None:
                pointer = cls(output, owner, state, written)
                pointer._remove_retired(store)
                return pointer
        raise _contended(output)

    @classmethod
    def attach(cls, output_uri: Uri | str, *, owner: str) -> Self:
        """A worker's hold on the run that the driver `owner` has claimed.

        Errors: FencedError when another driver owns it, ObjectNotFoundError when nobody does.
        """
        output = parse_uri(output_uri, field="output")
        state, etag = read_pointer(open_store(output))
        if state is None:
            raise ObjectNotFoundError(f"{output / POINTER_KEY} does not exist; claim the run first")
        _refuse_other_owner(output, state, owner)
        return cls(output, owner, state, etag)

    def advance(
        self,
        *,
        step: int,
        checkpoint: Artifact,
        best: BestCheckpoint | Mapping[str, Any] | None = None,
        keep: Sequence[str | Artifact] | None = None,
    ) -> PointerState:
        """Make the published `checkpoint` the newest one.

        `keep` are the earlier checkpoints to keep (relative URIs or artifacts; None keeps all);
        the new one and the best one always are. The others are deleted after the move. The same
        advance twice is one. Errors: FencedError, StorageError when `step` goes backwards.
        """
        store = open_store(self.output)
        new = KeptCheckpoint(step, self.relative(checkpoint), checkpoint.digest)
        kept = None if keep is None else {self.relative(item) for item in keep}
        for _ in range(MAX_MOVES):
            if self._is_current(new):
                break
            self._refuse_backwards(new)
            moved = advanced(self.state, new, as_best(best), kept)
            failpoint("pointer.before-advance")
            if self._move(store, moved):
                break
        else:
            raise _contended(self.output)
        failpoint("pointer.after-advance")
        self._remove_retired(store)
        return self.state

    def newest_valid(self, directory: str | Path | None = None) -> ValidCheckpoint | None:
        """The newest checkpoint whose every byte verifies; None before the first.

        With `directory` it is downloaded there while it is verified. When newer ones are
        damaged, the pointer falls back to the one that is returned, which names them and why.
        Errors: IntegrityError when there are checkpoints and none is usable.
        """
        skipped: list[SkippedCheckpoint] = []
        for kept in sorted(self.state.kept, key=lambda item: item.step, reverse=True):
            try:
                artifact = self._verified(kept, directory)
            except (IntegrityError, ObjectNotFoundError, DataError) as error:
                skipped.append(SkippedCheckpoint(kept.step, kept.checkpoint, str(error)))
                continue
            if skipped:
                self._fall_back(kept, skipped)
            return ValidCheckpoint(kept.step, artifact, tuple(skipped))
        if skipped:
            reasons = "; ".join(f"step {item.step}: {item.reason}" for item in skipped)
            raise IntegrityError(
                f"{self.output}: no kept checkpoint is usable ({reasons}); start again with"
                " --overwrite"
            )
        return None

    def relative(self, checkpoint: str | Artifact) -> str:
        """A checkpoint's URI relative to the run's output."""
        if isinstance(checkpoint, Artifact):
            checkpoint = str(checkpoint.uri)
        relative = checkpoint.removeprefix(f"{self.output}/")
        if not relative.startswith(CHECKPOINTS_PREFIX):
            raise DataError(
                "checkpoint",
                checkpoint,
                "is not one of this run",
                f"publish it under {self.output}",
            )
        return relative

    def _verified(self, kept: KeptCheckpoint, directory: str | Path | None) -> Artifact:
        artifact = open_artifact(self.output / kept.checkpoint)
        if artifact.digest != kept.digest:
            raise IntegrityError(f"{artifact.uri}: its manifest is not the one that was pointed to")
        if directory is None:
            artifact.verify()
        else:
            artifact.download(directory)
        return artifact

    def _fall_back(self, to: KeptCheckpoint, skipped: Sequence[SkippedCheckpoint]) -> None:
        """Stop naming damaged checkpoints, so that the run may pass their steps again."""
        store = open_store(self.output)
        damaged = {item.checkpoint for item in skipped}
        for _ in range(MAX_MOVES):
            if self.state.checkpoint not in damaged:
                return  # another rank has done it
            if self._move(store, fallen_back(self.state, to, damaged)):
                return
        raise _contended(self.output)

    def _move(self, store: ObjectStore, state: PointerState) -> bool:
        """Swap; on a lost race read what is there instead. Errors: FencedError."""
        etag = _write(store, state, self._etag)
        if etag is None:
            self._refresh(store)
            return self.state == state  # our own write, its answer lost
        self.state, self._etag = state, etag
        return True

    def _refresh(self, store: ObjectStore) -> PointerState:
        state, etag = read_pointer(store)
        if state is None:
            raise FencedError(f"{self.output / POINTER_KEY} was deleted; this run must stop")
        _refuse_other_owner(self.output, state, self.owner)
        self.state, self._etag = state, etag
        return state

    def _is_current(self, new: KeptCheckpoint) -> bool:
        return (self.state.step, self.state.checkpoint, self.state.digest) == (
            new.step,
            new.checkpoint,
            new.digest,
        )

    def _refuse_backwards(self, new: KeptCheckpoint) -> None:
        if self.state.checkpoint is not None and new.step <= self.state.step:
            raise StorageError(
                f"{self.output}: the pointer stands at step {self.state.step}"
                f" ({self.state.checkpoint}) and does not go back to step {new.step}"
            )

    def _remove_retired(self, store: ObjectStore) -> None:
        """Delete what the pointer no longer names, then forget it."""
        if not self.state.retired:
            return
        failpoint("pointer.before-retire")
        for checkpoint in self.state.retired:
            delete_checkpoint(store, checkpoint)
        failpoint("pointer.after-retire")
        # Losing this swap is harmless: deleting again is, too, and the next move does it.
        self._move(store, replace(self.state, retired=(), updated_at=utc_now()))


def delete_checkpoint(store: ObjectStore, checkpoint: str) -> None:
    """Remove a checkpoint: its manifest first, so that it is never published with holes."""
    store.delete([f"{checkpoint}/{MANIFEST_KEY}"])
    store.delete([info.key for info in store.list(f"{checkpoint}/", markers=True)])


def read_pointer(store: ObjectStore) -> tuple[PointerState | None, str]:
    """The pointer at the store's root, if a run has one, and its ETag ("": absent)."""

    def read() -> tuple[PointerState, str]:
        data, etag = store.get_with_etag(POINTER_KEY)
        return parse_pointer(data, uri=str(store.root / POINTER_KEY)), etag

    try:
        return read_twice(read)
    except ObjectNotFoundError:
        return None, ""


def _write(store: ObjectStore, state: PointerState, etag: str) -> str | None:
    """The new ETag, or None when the pointer is not the version `etag` ("": absent) any more."""
    try:
        if etag:
            return store.put(POINTER_KEY, state.to_json(), if_match=etag)
        return store.put(POINTER_KEY, state.to_json(), if_none_match=True)
    except PreconditionFailedError:
        return None


def _refuse_other_owner(output: Uri, state: PointerState, owner: str) -> None:
    if state.owner != owner:
        raise FencedError(
            f"{output}: driver {state.owner} took this run over (generation {state.generation});"
            f" driver {owner} must stop"
        )


def _contended(output: Uri) -> StorageError:
    return StorageError(
        f"{output / POINTER_KEY} changed under {MAX_MOVES} writes in a row; run it again"
    )
