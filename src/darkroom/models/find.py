"""Finds a model by a path, an `s3://` URI or a hub id, names its digest, brings it here.

Assumes nothing of what is inside: transformers, diffusers or torch reads it. Whoever loads gets a
folder on this machine whose files are those of the digest. A hub is asked only for an id that is
no path, and pinned to one commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom.config import json_digest
from darkroom.errors import ConfigError, IntegrityError, ObjectNotFoundError
from darkroom.models.files import (
    PICKLES,
    WEIGHTS,
    Read,
    Sized,
    broken_file,
    loaded_files,
    shapes_read,
)
from darkroom.models.hub import ask_hub, hub_copy
from darkroom.models.node_copy import node_copy
from darkroom.models.references import check_references
from darkroom.places import is_hub_id
from darkroom.storage import (
    Artifact,
    ObjectStore,
    Parent,
    Uri,
    list_source,
    open_artifact,
    open_store,
    parse_uri,
)
from darkroom.storage.artifact import digest_of
from darkroom.storage.fetch import is_unfinished
from darkroom.storage.manifest import digest_of_files
from darkroom.storage.names import make_files
from darkroom.storage.store import for_each

ARTIFACT_PREFIX = "model/"
"""Where a published model keeps its diffusers folder."""

_FILE = "file"


@dataclass(frozen=True)
class FoundModel:
    """A model wherever it lies, and the digest that names its contents."""

    name: str
    """As the config has it."""
    uri: Uri | None
    """Of its folder, artifact or file; None for a model of the hub."""
    digest: str
    """sha256 of a file, `digest_of_files` of a folder, the content digest of what Darkroom
    published, the commit of a hub."""
    kind: str
    """An artifact's kind, "folder", "file" or "hub"."""
    files: tuple[Sized, ...]
    """Those that its loader reads, in order of their names."""
    manifest_digest: str | None = None
    """Of what Darkroom published; None for anything else."""
    sha256s: tuple[str, ...] | None = None
    """Of each file; None for a model of the hub, whose commit names them all."""

    @property
    def weights_bytes(self) -> int:
        """Size of the weights: the least that they take in memory at their own precision."""
        return sum(size for name, size in self.files if name.endswith(WEIGHTS))

    def folders_digest(self, folders: Sequence[str]) -> str:
        """Names the contents of some of its folders ("vae"), whatever the others hold."""
        if self.sha256s is None:
            return json_digest([self.digest, sorted(folders)])
        files = zip(self.files, self.sha256s, strict=True)
        return digest_of_files(
            (*file, sha256) for file, sha256 in files if file[0].partition("/")[0] in folders
        )

    def as_parent(self, role: str) -> Parent:
        """This model as something that an output was made with."""
        uri = str(self.uri or f"hub:{self.name}")
        digest = self.manifest_digest or self.digest
        return Parent(role, uri, digest, self.kind, published=self.manifest_digest is not None)

    def folders_bytes(self, folders: Sequence[str]) -> int:
        """As `weights_bytes`, of some of its folders."""
        return sum(
            size
            for name, size in self.files
            if name.endswith(WEIGHTS) and name.partition("/")[0] in folders
        )

    def read(self, file: str) -> bytes | None:
        """One of its files; None where it has none of that name."""
        if file not in {name for name, _ in self.files}:
            return None
        if self.uri is None:
            return (hub_copy(self.name, self.digest, [file]) / file).read_bytes()
        if self.manifest_digest is not None:
            return open_artifact(self.uri).read_bytes(f"{ARTIFACT_PREFIX}{file}")
        return open_store(self.uri).get(file)

    def tensor_shapes(self, folder: str) -> dict[str, tuple[int, ...]] | None:
        """Shapes of the tensors in one of its folders ("vae"), by name, out of the files' headers.

        None for a model of the hub, of which nothing need be here yet.
        """
        if self.uri is None:
            return None
        read = _reader(self.uri, published=self.manifest_digest is not None)
        shapes: dict[str, tuple[int, ...]] = {}
        for name, _ in self.files:
            if name.startswith(f"{folder}/") and name.endswith(".safetensors"):
                shapes |= shapes_read(name, read)
        return shapes

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A folder on this machine with the files, for as long as they are loaded.

        Errors: IntegrityError when they are no longer those of the digest.
        """
        names = [name for name, _ in self.files]
        if self.uri is None:
            yield hub_copy(self.name, self.digest, names)
            return
        if self.manifest_digest is not None:
            artifact = open_artifact(self.uri)
            if artifact.content_digest != self.digest:
                raise IntegrityError(f"{self.uri} has changed since the job began; run it again")
            with artifact_copy(artifact, ARTIFACT_PREFIX) as folder:
                yield folder
            return
        store = open_store(self.uri.parent if self.kind == _FILE else self.uri)

        def fetch(folder: Path) -> None:
            targets = make_files(folder, names, where=str(self.uri))
            self._verify(store.download_many([*zip(names, targets, strict=True)]))

        with ExitStack() as stack:
            if self.uri.scheme == "file":
                folder = store.root.path
                self._verify(_sha256s(store, self.files))
            else:
                folder = stack.enter_context(node_copy(self.digest, fetch))
            if self.kind != _FILE:
                check_references(folder)
            yield folder

    def _verify(self, sha256s: Sequence[str]) -> None:
        found = sha256s[0] if self.kind == _FILE else _digest(self.files, sha256s)
        if found != self.digest:
            raise IntegrityError(f"{self.uri} has changed since the job began; run it again")


def find_model(
    name: str, *, field: str, variant: str | None = None, gguf_file: str | None = None
) -> FoundModel:
    """The folder of a model: `name` is a path from the root, a URI or a hub id, as configs have it.

    variant: of the weights ("fp16"), where the folder has it. gguf_file: the one to load.
    Errors: ConfigError naming `field` when there is none, or a file of it is broken.
    """

    def loaded(files: Iterable[Sized]) -> tuple[Sized, ...]:
        return tuple(loaded_files(files, variant=variant, gguf_file=gguf_file))

    if is_hub_id(name):
        commit, files = ask_hub(name, field=field)
        return FoundModel(name, None, commit, "hub", loaded(files))
    uri = parse_uri(name, field=field)
    try:
        artifact = open_artifact(uri)
    except ObjectNotFoundError:
        store = open_store(uri)
        found = loaded(listed := _listed(store, name, field))
        _check(store, listed, found, name, field)
        sha256s = tuple(_sha256s(store, found))
        digest = _digest(found, sha256s)
        return FoundModel(name, uri, digest, "folder", found, sha256s=sha256s)
    entries = artifact.entries(ARTIFACT_PREFIX)
    by_name = {entry.name.removeprefix(ARTIFACT_PREFIX): entry for entry in entries}
    found = loaded((name, entry.size) for name, entry in by_name.items())
    _check_files(found, _artifact_reader(artifact), name, field)
    kind, content = artifact.manifest.kind, artifact.content_digest
    sha256s = tuple(by_name[file].sha256 for file, _ in found)
    return FoundModel(name, uri, content, kind, found, artifact.digest, sha256s)


def find_file(name: str, *, field: str, remedy: str = "name a file of weights") -> FoundModel:
    """A file of weights. Errors: ConfigError naming `field` when it is not there."""
    uri = parse_uri(name, field=field)
    try:
        size, digest = digest_of(open_store(uri.parent), uri.name)
    except ObjectNotFoundError:
        raise ConfigError(field, name, "there is no such file", remedy) from None
    return FoundModel(name, uri, digest, _FILE, ((uri.name, size),))


@contextmanager
def artifact_copy(artifact: Artifact, prefix: str) -> Iterator[Path]:
    """The files of an artifact's folder `prefix` on this machine, verified."""

    def fetch(folder: Path) -> None:
        artifact.download(folder, prefix=prefix)
        check_references(folder)

    with node_copy(json_digest([artifact.content_digest, prefix]), fetch) as folder:
        yield folder


def unloadable(
    folder: Path, error: Exception, *, field: str, model: str, remedy: str
) -> ConfigError:
    """What to raise where a library cannot load `model`, whose files are in `folder`.

    The file that is broken, where one is: libraries name anything but that.
    """
    store = open_store(folder)
    files = [(info.key, info.size) for info in list_source(store).files]
    if fault := broken_file(files, store.get_range, texts=True):
        return ConfigError(field, model, f"its file {fault[0]} {fault[1].what}", fault[1].remedy)
    reason = " ".join((str(error) or type(error).__name__).split())[:300]
    return ConfigError(field, model, f"cannot be loaded ({reason})", remedy)


def _reader(uri: Uri, *, published: bool) -> Read:
    return _artifact_reader(open_artifact(uri)) if published else open_store(uri).get_range


def _artifact_reader(artifact: Artifact) -> Read:
    def read(file: str, start: int, length: int) -> bytes:
        key = artifact.entry(f"{ARTIFACT_PREFIX}{file}").key
        return artifact.store.get_range(key, start, length)

    return read


def _listed(store: ObjectStore, name: str, field: str) -> list[Sized]:
    root = store.root
    if root.scheme == "file" and is_unfinished(root.path):
        raise ConfigError(
            field, name, "is an unfinished copy", "let `darkroom storage get` finish it"
        )
    found = list_source(store)
    if found.unreadable:
        first = found.unreadable[0]
        raise ConfigError(
            field, name, f"its file {first.key} cannot be read ({first.problem})",
            "fetch the model again",
        )  # fmt: skip
    if not found.files:
        if root.scheme == "file" and root.path.is_file():
            raise ConfigError(field, name, "is a file", "give the folder that it lies in")
        raise ConfigError(
            field, name, "no model lies there", "give a folder, an s3:// URI or a hub id"
        )
    return [(info.key, info.size) for info in found.files]


def _check(
    store: ObjectStore, listed: list[Sized], loaded: tuple[Sized, ...], name: str, field: str
) -> None:
    _check_files(loaded, store.get_range, name, field)
    if not any(file.endswith(WEIGHTS) for file, _ in loaded):
        pickles = [file for file, _ in listed if file.endswith(PICKLES)]
        if pickles:
            raise ConfigError(
                field, name, f"has its weights as pickles only ({pickles[0]}), which can run code",
                "give its safetensors, or convert it with the library's own save_pretrained",
            )  # fmt: skip


def _check_files(files: Iterable[Sized], read: Read, name: str, field: str) -> None:
    """Before any worker starts: heads of files tell what is broken."""
    if fault := broken_file(files, read):
        raise ConfigError(field, name, f"its file {fault[0]} {fault[1].what}", fault[1].remedy)


def _sha256s(store: ObjectStore, files: Sequence[Sized]) -> list[str]:
    return list(for_each(lambda file: digest_of(store, file[0])[1], files))


def _digest(files: Sequence[Sized], sha256s: Sequence[str]) -> str:
    pairs = zip(files, sha256s, strict=True)
    return digest_of_files((*file, sha256) for file, sha256 in pairs)
