"""Everything that Darkroom keeps: URIs, the object store, publishing, the embedded server.

The only package that imports boto3, and no importer of torch or ray. `docs/storage.md`
describes the protocol; `open_output` and `open_artifact` are where jobs enter.
"""

from darkroom.storage.access import CheckReport, check
from darkroom.storage.ancestry import Ancestor, Lineage, lineage
from darkroom.storage.artifact import Artifact, open_artifact
from darkroom.storage.fetch import get
from darkroom.storage.garbage import GcReport, gc
from darkroom.storage.listing import Listed, Listing, ls
from darkroom.storage.manifest import FileEntry, Manifest, Parent
from darkroom.storage.pointer import RunPointer
from darkroom.storage.pointer_state import BestCheckpoint, PointerState
from darkroom.storage.publish import Output, open_output
from darkroom.storage.server import EmbeddedServer
from darkroom.storage.source import SourceFiles, list_source
from darkroom.storage.store import ObjectInfo, ObjectStore
from darkroom.storage.stores import open_store
from darkroom.storage.uri import Uri, parse_uri
from darkroom.storage.writer import PartWriter

__all__ = [
    "Ancestor",
    "Artifact",
    "BestCheckpoint",
    "CheckReport",
    "EmbeddedServer",
    "FileEntry",
    "GcReport",
    "Lineage",
    "Listed",
    "Listing",
    "Manifest",
    "ObjectInfo",
    "ObjectStore",
    "Output",
    "Parent",
    "PartWriter",
    "PointerState",
    "RunPointer",
    "SourceFiles",
    "Uri",
    "check",
    "gc",
    "get",
    "lineage",
    "list_source",
    "ls",
    "open_artifact",
    "open_output",
    "open_store",
    "parse_uri",
]
