"""Finds a model's folder by a path, an `s3://` URI or a hub id, names its digest, brings it here.

Assumes nothing of what is inside: transformers or diffusers reads it. What Darkroom published is
verified file by file. A hub is asked only for an id that is no path, and pinned to one commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom.config import json_digest
from darkroom.errors import ConfigError, DarkroomError, ObjectNotFoundError
from darkroom.models.files import WEIGHTS, broken_file, missing_file
from darkroom.places import is_hub_id
from darkroom.storage import Parent, Uri, list_source, open_artifact, open_store, parse_uri
from darkroom.storage.artifact import digest_of
from darkroom.storage.fetch import is_unfinished
from darkroom.storage.names import make_files
from darkroom.storage.references import check_references
from darkroom.storage.store import ObjectInfo, for_each
from darkroom.temporary import temporary_folder

_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)\.")

ARTIFACT_PREFIX = "model/"
"""Where a published model keeps its diffusers folder."""


@dataclass(frozen=True)
class FoundModel:
    """A model's folder, wherever it lies, and the digest that names its contents."""

    name: str
    """As the config has it."""
    uri: Uri | None
    """None for a model of the hub."""
    digest: str
    """Of the manifest, of the files, or the hub's commit."""
    kind: str
    """An artifact's kind, "folder", or "hub"."""
    weights: tuple[tuple[str, int], ...] | None
    """Names and sizes of the weight files; None where only the hub knows."""
    published: bool = False
    """Whether Darkroom published it."""

    def weights_bytes(self, *, variant: str | None = None, file: str | None = None) -> int | None:
        """Size of the weight files that are loaded: the least that it can be.

        A mirror often holds the same weights several times over: as other variants, in an older
        format, and (beside a pipeline's folders) as one file.
        """
        if self.weights is None:
            return None
        if file is not None:
            return sum(size for name, size in self.weights if name == file)
        newest = next(
            (end for end in WEIGHTS if any(name.endswith(end) for name, _ in self.weights)), ""
        )
        files = [(name, size) for name, size in self.weights if name.endswith(newest)]
        if any("/" in name for name, _ in files):
            files = [(name, size) for name, size in files if "/" in name]
        of_variant = [size for name, size in files if f".{variant}." in name]
        return sum(of_variant) or sum(size for name, size in files if not _VARIANT.search(name))

    def as_parent(self, role: str) -> Parent:
        """This model as something that an output was made with."""
        uri = str(self.uri or f"hub:{self.name}")
        return Parent(role, uri, self.digest, self.kind, published=self.published)

    @contextmanager
    def local(self) -> Iterator[tuple[str, dict[str, object]]]:
        """What `from_pretrained` takes: a folder or an id, and its keywords."""
        if self.uri is None:
            yield self.name, {"revision": self.digest}
        elif self.uri.scheme == "file" and not self.published:
            check_references(self.uri.path)
            yield str(self.uri.path), {"local_files_only": True}
        else:
            with temporary_folder("darkroom-model-") as folder:
                self._download(self.uri, folder)
                check_references(folder)
                yield str(folder), {"local_files_only": True}

    def _download(self, uri: Uri, folder: Path) -> None:
        if self.published:
            artifact = open_artifact(uri)
            if artifact.digest != self.digest:
                raise DarkroomError(f"{uri} was published anew while the job ran; run it again")
            artifact.download(folder, prefix=ARTIFACT_PREFIX)
            return
        store = open_store(uri)
        keys = [info.key for info in list_source(store).files]
        store.download_many([*zip(keys, make_files(folder, keys, where=str(uri)), strict=True)])


def find_model(name: str, *, field: str) -> FoundModel:
    """The folder of a model: `name` is a path from the root, a URI or a hub id, as configs have it.

    Errors: ConfigError naming `field` when there is none.
    """
    if is_hub_id(name):
        return _on_hub(name, field)
    uri = parse_uri(name, field=field)
    try:
        artifact = open_artifact(uri)
    except ObjectNotFoundError:
        return _in_folder(name, uri, field)
    weights = tuple(
        (entry.name.removeprefix(ARTIFACT_PREFIX), entry.size)
        for entry in artifact.entries(ARTIFACT_PREFIX)
        if entry.name.endswith(WEIGHTS)
    )
    kind = artifact.manifest.kind
    return FoundModel(name, uri, artifact.digest, kind, weights, published=True)


def unloadable(name: str, error: Exception, *, field: str, model: str, remedy: str) -> ConfigError:
    """What to raise where a library cannot load `model`, whose folder (or hub id) is `name`.

    The file that is broken, where one is: libraries name anything but that.
    """
    fault = broken_file(name)
    if fault is not None:
        return ConfigError(field, model, f"its file {fault[0]} {fault[1].what}", fault[1].remedy)
    reason = " ".join((str(error) or type(error).__name__).split())[:300]
    return ConfigError(field, model, f"cannot be loaded ({reason})", remedy)


def _in_folder(name: str, uri: Uri, field: str) -> FoundModel:
    store = open_store(uri)
    if uri.scheme == "file" and is_unfinished(uri.path):
        raise ConfigError(
            field, name, "is an unfinished copy", "let `darkroom storage get` finish it"
        )
    found = list_source(store)
    files = found.files
    if found.unreadable:
        first = found.unreadable[0]
        raise ConfigError(
            field, name, f"its file {first.key} cannot be read ({first.problem})",
            "fetch the model again",
        )  # fmt: skip
    if not files:
        raise ConfigError(
            field, name, "no model lies there", "give a folder, an s3:// URI or a hub id"
        )

    def version(info: ObjectInfo) -> list[object]:
        # A local file has no version that its store keeps.
        mark = info.etag if uri.scheme == "s3" else digest_of(store, info.key)[1]
        return [info.key, info.size, mark]

    sizes = [(info.key, info.size) for info in files]
    if fault := missing_file(sizes, store.get_range):
        raise ConfigError(field, name, f"its file {fault[0]} {fault[1].what}", fault[1].remedy)
    weights = tuple((key, size) for key, size in sizes if key.endswith(WEIGHTS))
    return FoundModel(name, uri, json_digest(list(for_each(version, files))), "folder", weights)


def _on_hub(name: str, field: str) -> FoundModel:
    import huggingface_hub as hub

    try:
        try:
            commit: str | None = Path(hub.snapshot_download(name, local_files_only=True)).name
        except FileNotFoundError:
            commit = hub.HfApi().model_info(name, timeout=30).sha
    except Exception as error:  # the hub's errors, and those of whatever carries its requests
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            field, name, f"is no folder here, and the hub cannot be asked ({reason})",
            "give the path or s3:// URI of the model's folder, or check the id and the network",
        ) from error  # fmt: skip
    return FoundModel(name, None, str(commit), "hub", None)
