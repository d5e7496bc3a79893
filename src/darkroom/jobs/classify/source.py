"""Where the pictures to classify are: a folder of files, or prepared data.

Both give the driver one table of rows in an order that depends on the input alone, and the tasks
the encoded bytes of a piece's rows. A folder is listed as `prepare` lists it, but a picture without
a class is classified all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.batch.picture_rows import (
    LOCATION,
    PictureOrigin,
    rows_of_files,
    rows_of_group,
)
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.jobs.seeding import sample
from darkroom.storage import Artifact, Parent, Uri, open_artifact, parse_uri

ROW_SCHEMA = pa.schema([("expected", pa.string()), *LOCATION])
"""One row of the driver's table: the class that the input gives it, and where the picture lies."""

_REMEDY = "name a folder of JPEG, PNG or WebP files, or what `darkroom prepare` published"


@dataclass(frozen=True)
class Pictures:
    """Everything there is to classify."""

    rows: pa.Table
    parent: Parent
    origin: PictureOrigin
    """Where the tasks read them, in the version that was listed."""
    rejected: Sequence[Reject] = ()
    """Files that the listing alone rules out."""
    num_skipped: Mapping[str, int] | None = None
    """Files that are no pictures by their names, by extension."""

    @property
    def classes(self) -> list[str]:
        """The classes that the input knows, sorted."""
        return sorted(name for name in self.rows["expected"].unique().to_pylist() if name)


@dataclass(frozen=True)
class PictureReader:
    """Reads the encoded bytes of rows, in order. None: too large to be read at all."""

    origin: PictureOrigin
    max_bytes: int
    concurrency: int

    def read(self, rows: pa.Table, rejects: Rejects) -> list[bytes | None]:
        """Errors: DataError for a file that has changed since it was listed, IntegrityError for
        data that was published anew, those of storage."""
        return self.origin.read(
            rows, rejects, max_bytes=self.max_bytes, concurrency=self.concurrency
        )


def find_pictures(config: ClassifyConfig) -> Pictures:
    """List the input. Errors: DataError when there is nothing to classify, those of storage."""
    root = parse_uri(config.input, field="input")
    artifact = published(root)
    pictures = _of_folder(root, config) if artifact is None else _of_dataset(artifact, config)
    return Pictures(
        _limited(pictures.rows, config),
        pictures.parent,
        pictures.origin,
        pictures.rejected if config.limit is None else (),
        pictures.num_skipped,
    )


def open_reader(config: ClassifyConfig, origin: PictureOrigin) -> PictureReader:
    """What reads the rows that `find_pictures` listed there."""
    return PictureReader(origin, config.limits.max_bytes, config.read_concurrency)


def published(root: Uri) -> Artifact | None:
    """The dataset at `root`; None where nothing is published, and so a folder must be.

    Errors: DataError when something else is published there.
    """
    try:
        return open_artifact(root, kind=Kind.DATASET)
    except ObjectNotFoundError:
        return None


def _limited(rows: pa.Table, config: ClassifyConfig) -> pa.Table:
    """A sample over all classes, drawn by the seed, in the input's order."""
    if config.limit is None:
        return rows
    ids, classes = rows[ID].to_pylist(), rows["expected"].to_pylist()
    return rows.take(pa.array(sample(ids, classes, limit=config.limit, seed=config.seed)))


def ids_on_page(pictures: Pictures, config: ClassifyConfig) -> pa.Array | None:
    """The ids whose predictions the page shows; None when there is no page."""
    if config.limit is None or not config.num_thumbnails:
        return None
    ids, classes = (pictures.rows[name].to_pylist() for name in (ID, "expected"))
    chosen = sample(ids, classes, limit=config.num_thumbnails, seed=config.seed)
    return pa.array([ids[at] for at in chosen], pa.string())


def _of_folder(root: Uri, config: ClassifyConfig) -> Pictures:
    listing = list_folder(root, field="input", classes="optional", remedy=_REMEDY)
    items = [item for item in listing.items if config.split in (None, item.split)]
    if not items:
        raise _no_split(root, config)
    expected = [None if item.label is None else listing.classes[item.label] for item in items]
    rows = pa.table({"expected": expected, **rows_of_files(items)}, schema=ROW_SCHEMA)
    origin = PictureOrigin(str(root))
    return Pictures(rows, listing.parent, origin, listing.rejects, listing.num_skipped)


def _of_dataset(artifact: Artifact, config: ClassifyConfig) -> Pictures:
    dataset = Dataset.of(artifact)
    classes = dataset.info.classes
    check_columns(artifact, len(classes), field="input", labelled=False)
    tables = []
    for group in dataset.row_groups(config.split):
        part = dataset.reader.read(group, ["id", "label"])
        expected = [None if i is None else classes[i] for i in part["label"].to_pylist()]
        located = rows_of_group(group, part["id"].to_pylist())
        tables.append(pa.table({"expected": expected, **located}, schema=ROW_SCHEMA))
    if not tables:
        raise _no_split(artifact.uri, config)
    rows = pa.concat_tables(tables).combine_chunks()
    return Pictures(rows, artifact.as_parent("data"), PictureOrigin.of(artifact))


def _no_split(where: Uri, config: ClassifyConfig) -> DataError:
    return DataError(
        "split" if config.split else "input",
        config.split or str(where),
        "has no pictures",
        "choose another split, or none for all",
    )
