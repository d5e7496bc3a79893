"""Publishing an output in one step: parts first, then the manifest by a conditional write.

S3 has no rename, so the manifest's appearance is the commit. It is written with
`If-None-Match: *`, or with `If-Match` where an older one is replaced on purpose; of several
writers exactly one wins. `garbage.py` removes what an overwrite or a crash leaves behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from darkroom.errors import (
    DataError,
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    PreconditionFailedError,
    UriError,
)
from darkroom.storage.artifact import Artifact
from darkroom.storage.code_digest import code_digest
from darkroom.storage.failpoint import failpoint
from darkroom.storage.manifest import (
    ATTEMPTS_PREFIX,
    CHECKPOINTS_PREFIX,
    CONFIRMED_PREFIX,
    DRAWN_PREFIX,
    GOODPUT_PREFIX,
    JOURNAL_PREFIX,
    LIVE_PREFIX,
    MANIFEST_KEY,
    MEASURED_PREFIX,
    POINTER_KEY,
    TRIALS_PREFIX,
    FileEntry,
    Manifest,
    Parent,
    parse_manifest,
    read_twice,
)
from darkroom.storage.probe import require_conditional_writes
from darkroom.storage.same_run import refuse_other_run
from darkroom.storage.source import hidden_part
from darkroom.storage.store import ObjectStore
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri
from darkroom.storage.writer import PartWriter, attempt_prefix

if TYPE_CHECKING:
    from darkroom.config import JobConfig, OnExisting

_OURS = (
    ATTEMPTS_PREFIX,
    CHECKPOINTS_PREFIX,
    MANIFEST_KEY,
    POINTER_KEY,
    LIVE_PREFIX,
    GOODPUT_PREFIX,
    JOURNAL_PREFIX,
    TRIALS_PREFIX,
    CONFIRMED_PREFIX,
    MEASURED_PREFIX,
    DRAWN_PREFIX,
)


class Output:
    """One attempt at an output. Leaving it without `publish` shows readers nothing."""

    def __init__(
        self,
        uri: Uri,
        *,
        kind: str,
        config: JobConfig,
        parents: Sequence[Parent],
        completed: Artifact | None = None,
        replaces: str | None = None,
        attempt: str | None = None,
    ) -> None:
        self.uri = uri
        self.kind = kind
        self.attempt = attempt or uuid.uuid4().hex
        self.writer = PartWriter(uri, self.attempt)
        self.completed = completed
        """The artifact when a resumed job finds its work done; then there is nothing to do."""
        self._config = config
        self._parents = tuple(parents)
        self._replaces = replaces

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Parts stay: they may explain a failure, and gc removes them after a day.
        return None

    def publish(
        self,
        files: Iterable[FileEntry],
        *,
        rows: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        made_on_the_way: Sequence[Parent] = (),
    ) -> Artifact:
        """Make `files` the output.

        made_on_the_way: further parents that this run made itself (a checkpoint); lineage
            follows them, and a resume does not ask for them.
        Errors: PreconditionFailedError when another writer won.
        """
        entries = tuple(files)
        store = open_store(self.uri)
        self._check_files(store, entries)
        manifest = Manifest(
            kind=self.kind,
            attempt=self.attempt,
            files=entries,
            rows=rows,
            metadata=dict(metadata or {}),
            config=self._config.to_dict(),
            config_digest=self._config.digest,
            code_digest=code_digest(),
            parents=(*self._parents, *made_on_the_way),
        )
        data = manifest.to_json()
        failpoint("publish.before-manifest")
        self._commit(store, manifest, data)
        failpoint("publish.after-manifest")
        # As a later reader has it, down to the order of the keys.
        return Artifact(self.uri, parse_manifest(data, uri=str(self.uri)))

    def _check_files(self, store: ObjectStore, entries: Sequence[FileEntry]) -> None:
        """Every file named once, of this attempt, and there with its size."""
        names: set[str] = set()
        for entry in entries:
            if entry.name in names:
                raise DataError("files", entry.name, "is named twice", "give each file one name")
            names.add(entry.name)
        wrong = self._wrong_size(store, entries)
        # A listing has no checksum: a bit that flipped on its way must not stop a job.
        if wrong and (wrong := self._wrong_size(store, entries)):
            entry, held = wrong[0]
            raise IntegrityError(
                f"{self.uri / entry.key}: {entry.size} bytes were written, the store holds"
                f" {'nothing' if held is None else held}; run the job again"
            )

    def _wrong_size(
        self, store: ObjectStore, entries: Sequence[FileEntry]
    ) -> list[tuple[FileEntry, int | None]]:
        """Files whose size in a listing is another, with that size."""
        held = {info.key: info.size for info in store.list(attempt_prefix(self.attempt))}
        pairs = [(entry, held.get(entry.key)) for entry in entries]
        return [(entry, size) for entry, size in pairs if size != entry.size]

    def _commit(self, store: ObjectStore, manifest: Manifest, data: bytes) -> None:
        try:
            if self._replaces is None:
                store.put(MANIFEST_KEY, data, if_none_match=True)
            else:
                store.put(MANIFEST_KEY, data, if_match=self._replaces)
        except PreconditionFailedError:
            winner = read_manifest(store)
            # Our own write whose answer was lost, and which the client then sent again. Drivers
            # of one batch run share the attempt, so only the whole manifest tells them apart.
            if winner is not None and winner.digest == manifest.digest:
                return
            raise PreconditionFailedError(self._lost_against(winner)) from None

    def _lost_against(self, winner: Manifest | None) -> str:
        if winner is None:
            return f"{self.uri}: the manifest was deleted while this job ran; run it again"
        return (
            f"{self.uri}: another job published here first (attempt {winner.attempt}, at"
            f" {winner.created_at}); this attempt's files are left to `darkroom storage gc`"
        )


def open_output(
    uri: Uri | str,
    *,
    kind: str,
    config: JobConfig,
    parents: Sequence[Parent] = (),
    on_existing: OnExisting | None = None,
    attempt: Callable[[str | None], str] | None = None,
) -> Output:
    """Begin an attempt at `uri`, after every check that can fail before the work.

    `on_existing` is the config's unless given. `attempt` names the attempt, for work that goes on
    over several runs; it is given the digest of the manifest that is to be replaced, if any.
    Errors: OutputExistsError (published already,
    or a resume under another config or other parents), StorageAccessError (no access, or a
    server without conditional writes), UriError (the output is also an input).
    """
    root = parse_uri(uri, field="output")
    _refuse_inputs(root, parents)
    policy = on_existing or config.on_existing
    store = open_store(root)
    existing, etag = _existing(store)
    if existing is None:
        if policy == "refuse":
            _refuse_foreign(store)
    elif policy == "refuse":
        raise OutputExistsError(
            "output",
            str(root),
            f"a {existing.kind} was published here at {existing.created_at}",
            "give --resume to keep it, --overwrite to replace it, or another output",
        )
    elif policy == "resume":
        _refuse_other_kind(root, existing, kind)
        refuse_other_run(root, existing, config, parents)
        return Output(
            root, kind=kind, config=config, parents=parents, completed=Artifact(root, existing)
        )
    require_conditional_writes(store)
    failpoint("publish.after-probe")
    replaced = existing.digest if existing is not None else None
    return Output(
        root,
        kind=kind,
        config=config,
        parents=parents,
        replaces=etag,
        attempt=attempt(replaced) if attempt is not None else None,
    )


def read_manifest(store: ObjectStore) -> Manifest | None:
    """The manifest at the store's root, if one is published."""
    return _existing(store)[0]


def _existing(store: ObjectStore) -> tuple[Manifest | None, str | None]:
    def read() -> tuple[Manifest, str]:
        data, etag = store.get_with_etag(MANIFEST_KEY)
        return parse_manifest(data, uri=str(store.root / MANIFEST_KEY)), etag

    try:
        return read_twice(read)
    except ObjectNotFoundError:
        return None, None


def _refuse_inputs(root: Uri, parents: Sequence[Parent]) -> None:
    for parent in parents:
        if parent.uri == str(root):
            raise UriError(
                "output", str(root), f"is also the job's {parent.role}", "write somewhere else"
            )
    if root.anonymous:
        raise UriError("output", str(root), "an anonymous user cannot write", "drop 'anonymous@'")


def _refuse_foreign(store: ObjectStore) -> None:
    """A prefix that holds other things is not an output: probably the URI is mistyped."""
    others = (name for name, _ in store.children() if name not in _OURS)
    foreign = next((name for name in others if _is_something(store, name)), None)
    if foreign is not None:
        raise OutputExistsError(
            "output",
            str(store.root),
            f"holds other files already ({foreign})",
            "choose an empty prefix, or give --overwrite to publish beside them",
        )


def _is_something(store: ObjectStore, name: str) -> bool:
    """Whether a child is more than what systems leave behind (a mount point's `lost+found`)."""
    if hidden_part(name.rstrip("/")) is not None:
        return False
    is_prefix = name.endswith("/") and store.root.scheme == "s3"
    return not is_prefix or next(store.list(name), None) is not None  # it may be a mere marker


def _refuse_other_kind(root: Uri, existing: Manifest, kind: str) -> None:
    if existing.kind != kind:
        raise OutputExistsError(
            "output", str(root), f"a {existing.kind} is published here", "choose another output"
        )
