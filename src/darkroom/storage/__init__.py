"""Everything that Darkroom keeps: URIs, the object store, publishing, the embedded server.

The only package that imports boto3, and no importer of torch or ray. `docs/storage.md`
describes the protocol; `open_output` and `open_artifact` are where jobs enter.
"""

from darkroom.storage.artifact import Artifact, open_artifact
from darkroom.storage.manifest import FileEntry, Manifest, Parent
from darkroom.storage.pointer import (
    BestCheckpoint,
    KeptCheckpoint,
    PointerState,
    RunPointer,
    ValidCheckpoint,
)
from darkroom.storage.publish import Output, open_output
from darkroom.storage.server import EmbeddedServer
from darkroom.storage.store import ObjectInfo, ObjectStore, open_store
from darkroom.storage.uri import Uri, parse_uri
from darkroom.storage.writer import PartWriter

__all__ = [
    "Artifact",
    "BestCheckpoint",
    "EmbeddedServer",
    "FileEntry",
    "KeptCheckpoint",
    "Manifest",
    "ObjectInfo",
    "ObjectStore",
    "Output",
    "Parent",
    "PartWriter",
    "PointerState",
    "RunPointer",
    "Uri",
    "ValidCheckpoint",
    "open_artifact",
    "open_output",
    "open_store",
    "parse_uri",
]
