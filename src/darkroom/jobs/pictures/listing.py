"""What a listing of pictures is: files by name, before any of them is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from darkroom.jobs.pictures.config import Split
from darkroom.jobs.rejects import Reject
from darkroom.storage import Parent


@dataclass(frozen=True, slots=True)
class Item:
    """One picture file before it is opened."""

    id: str
    """Unique in the dataset."""
    path: str
    """Where the source finds it; named in dead letters."""
    label: int | None = None
    """Index into the listing's classes."""
    caption: str | None = None
    split: Split | None = None
    """Set by sources that are split already; otherwise the plan decides."""
    size: int = 0
    """Encoded bytes."""
    etag: str | None = None
    """The version listed, where the store tells; read again, it must be the same."""
    data: bytes | None = None
    """The encoded bytes of sources too small to be worth reading in the tasks."""


@dataclass(frozen=True, slots=True)
class PictureListing:
    """Everything a source holds."""

    items: Sequence[Item]
    classes: Sequence[str]
    parent: Parent
    """The source with the digest of its listing: lineage ends here."""
    rejects: Sequence[Reject] = ()
    """Files that the listing alone rules out."""
    num_skipped: dict[str, int] = field(default_factory=dict)
    """Files that are no pictures by their names, counted by extension."""
