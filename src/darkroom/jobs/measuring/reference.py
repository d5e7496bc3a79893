"""The real pictures that others are compared with, however they are given.

    a published dataset     its training and its test split
    a folder of pictures    one set, which distances go to: there is no training split
    a published evaluation  the features of a reference that it kept; no picture is read again

Every picture of a reference must be usable: one that is left out would make another reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.evaluation import ExtractorFacts
from darkroom.jobs.artifacts.kept_reference import KeptReference
from darkroom.jobs.batch.picture_rows import PictureOrigin, rows_of_files, rows_of_group
from darkroom.jobs.measuring.comparison import LABEL, PROMPT, SET, TEST, TRAIN
from darkroom.jobs.measuring.source import ROW_SCHEMA, picture_rows
from darkroom.jobs.measuring.stages import Making
from darkroom.jobs.pictures.config import Split
from darkroom.jobs.pictures.decode import Picture, decode
from darkroom.jobs.pictures.files import read_files
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.pictures.listing import PictureListing
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.storage import Artifact, Parent, Uri, open_artifact, open_store, parse_uri

_FIELD = "reference"
_SPLITS: tuple[Split, Split] = (TRAIN, TEST)
_REMEDY = (
    "it is neither prepared data nor a folder of pictures: give what `darkroom prepare` published, "
    "a folder of JPEG, PNG or WebP files, or an evaluation that kept its reference"
)


@dataclass(frozen=True)
class Reference:
    """The real pictures."""

    origin: PictureOrigin
    parent: Parent
    content: str
    """Digest that names the pictures: of published ones by content, of a folder by its listing."""
    making: Making
    rows: pa.Table
    """To be read: none where features were kept."""
    classes: tuple[str, ...]
    is_labelled: bool
    """Every picture has a class."""
    captions_are_known: bool
    """Of every test picture."""
    has_training_split: bool
    kept: KeptReference | None = None
    artifact: Artifact | None = None
    """What holds the kept features."""

    @property
    def kept_columns(self) -> frozenset[str] | None:
        """The features there are; None where any can be made."""
        return None if self.kept is None else frozenset(self.kept.digests)


def find_reference(uri: str) -> Reference:
    """What is at `uri`. Errors: DataError for what is no reference, those of storage."""
    root = parse_uri(uri, field=_FIELD)
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        return _of_folder(root)
    if artifact.manifest.kind == Kind.EVALUATION:
        return _of_kept(artifact)
    return _of_dataset(artifact)


def check_kept(reference: Reference, made: Mapping[str, ExtractorFacts]) -> None:
    """Refuse features of other networks than those that the pictures go through.

    Errors: DataError naming the first that differs.
    """
    if reference.kept is None:
        return
    for name, facts in made.items():
        kept = reference.kept.extractors[name]
        if kept != facts:
            raise DataError(
                _FIELD, reference.origin.uri,
                f"its {name} features were made otherwise: {_said(kept)}; here {_said(facts)}",
                "give those weights, or the reference itself",
            )  # fmt: skip


def _said(facts: ExtractorFacts) -> str:
    return f"weights {facts.digest[:12]}, {facts.precision}, pictures by {facts.resize}"


def _of_dataset(artifact: Artifact) -> Reference:
    """Errors: DataError when a split is missing, its pictures have no one size, or its files are
    not what `prepare` publishes."""
    dataset = Dataset.of(artifact, field=_FIELD)
    shape = dataset.shape(field=_FIELD)
    check_columns(
        artifact, len(dataset.info.classes), field=_FIELD,
        columns=("id", "image", "label"), labelled=False,
    )  # fmt: skip
    for split in _SPLITS:
        if not dataset.row_groups(split):
            remedy = "prepare it with a train and a test split"
            raise DataError(_FIELD, str(artifact.uri), f"has no {split} split", remedy)
    rows = _dataset_rows(dataset)
    return Reference(
        PictureOrigin.of(artifact),
        artifact.as_parent(_FIELD),
        artifact.content_digest,
        Making.of(shape, artifact.manifest.config),
        rows,
        classes=dataset.info.classes,
        is_labelled=not rows[LABEL].null_count,
        captions_are_known=not pc.filter(rows[PROMPT], pc.equal(rows[SET], TEST)).null_count,
        has_training_split=True,
    )


def _dataset_rows(dataset: Dataset) -> pa.Table:
    """The training and the test split, row by row."""
    tables = []
    for split in _SPLITS:
        for group in dataset.row_groups(split):
            has_captions = "caption" in dataset.reader.columns(group.file)
            columns = ("id", "label", *(("caption",) if has_captions else ()))
            part = dataset.reader.read(group, columns)
            located = rows_of_group(group, _ids(split, part["id"].to_pylist()))
            tables.append(
                picture_rows(
                    located, split, part["label"].to_pylist(),
                    part["caption"].to_pylist() if has_captions else None,
                )
            )  # fmt: skip
    return pa.concat_tables(tables).combine_chunks()


def _ids(split: str, ids: Sequence[str]) -> list[str]:
    """They cannot be those of drawn pictures."""
    return [f"reference:{split}:{row_id}" for row_id in ids]


def _of_folder(root: Uri) -> Reference:
    """Every picture of the folder, whatever its subfolders say. Its first gives the size."""
    listing = list_folder(root, field=_FIELD, classes="optional", remedy=_REMEDY)
    if listing.rejects:
        first = listing.rejects[0]
        raise _unusable(root, first.id, first.reason, first.detail)
    located = rows_of_files(listing.items)
    located["id"] = _ids(TEST, located["id"])
    captions = [item.caption for item in listing.items]
    making = Making.of(_first_shape(root, listing), {})
    return Reference(
        PictureOrigin(str(root)),
        replace(listing.parent, role=_FIELD),
        listing.parent.digest,
        making,
        picture_rows(located, TEST, prompts=captions),
        classes=(),
        is_labelled=False,
        captions_are_known=None not in captions,
        has_training_split=False,
    )


def _first_shape(root: Uri, listing: PictureListing) -> ImageShape:
    item = listing.items[0]
    (data,) = read_files(open_store(root), [item], concurrency=1, field=_FIELD)
    picture = decode(data, row_id=item.id)
    if not isinstance(picture, Picture):
        raise _unusable(root, item.id, picture.reason, picture.detail)
    width, height = picture.image.size
    return ImageShape(height, width, 1 if picture.image.mode == "L" else 3)


def _unusable(root: Uri, name: str, reason: Any, detail: str) -> DataError:
    return DataError(
        _FIELD, f"{root}/{name}", f"cannot be used ({reason}: {detail})", "mend it, or take it away"
    )


def _of_kept(artifact: Artifact) -> Reference:
    kept = KeptReference.of(artifact, field=_FIELD)
    return Reference(
        PictureOrigin.of(artifact),
        artifact.as_parent(_FIELD),
        kept.content,
        Making.of(kept.shape, kept.making),
        ROW_SCHEMA.empty_table(),
        classes=kept.classes,
        is_labelled=kept.is_labelled,
        captions_are_known=kept.captions_are_known,
        has_training_split=bool(kept.num_train),
        kept=kept,
        artifact=artifact,
    )
