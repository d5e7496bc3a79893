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
    """Encoded bytes; of a picture in a block the mean of the block's."""
    etag: str | None = None
    """The version listed, where the store tells; read again, it must be the same."""
    data: bytes | None = None
    """The encoded bytes of sources too small to be worth reading in the tasks."""
    block: str | None = None
    """What is read whole for any picture in it: its pictures stay together. None for files."""

    @property
    def num_bytes(self) -> int:
        """Encoded bytes, wherever they are."""
        return self.size if self.data is None else len(self.data)

    def may_fit(self, max_bytes: int) -> bool:
        """Whether it is worth reading: not empty, nor too large, as far as the listing tells."""
        return self.block is not None or 0 < self.num_bytes <= max_bytes


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
