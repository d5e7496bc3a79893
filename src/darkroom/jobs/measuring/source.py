"""What is compared, as the rows of one batch run: drawn pictures, then the reference's splits.

The drawn ones are published samples, pictures of prompts, or the files of a folder whose
subfolders name the classes that were asked for. A row says where its picture lies; its bytes are
read by the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.dataset import Dataset
from darkroom.jobs.artifacts.evaluation import DrawnFacts
from darkroom.jobs.artifacts.row_groups import FILE_NAME, IMAGE, RowGroupReader
from darkroom.jobs.artifacts.samples import DATA_PREFIX, Samples
from darkroom.jobs.batch.picture_rows import (
    LOCATION,
    PictureOrigin,
    rows_of_files,
    rows_of_group,
)
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.measuring.comparison import GENERATED, LABEL, PROMPT, SET
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.rejects import Reject
from darkroom.jobs.seeding import sample
from darkroom.storage import Artifact, Parent, Uri, open_artifact, parse_uri

ROW_SCHEMA = pa.schema([(SET, pa.string()), (LABEL, pa.int64()), (PROMPT, pa.string()), *LOCATION])

_REMEDY = (
    "it is neither published samples nor a folder of pictures: give what `darkroom sample` "
    "published, or a folder of JPEG, PNG or WebP files"
)


@dataclass(frozen=True)
class ComparedPictures:
    """The pictures that are measured."""

    rows: pa.Table
    parent: Parent
    source: PictureOrigin
    content: str
    """Digest that names the pictures: of published ones by content, of a folder by its listing."""
    drawn: DrawnFacts | None = None
    rejected: Sequence[Reject] = ()
    """Files of a folder that the listing alone rules out."""


def open_reference(uri: str) -> Dataset:
    """A dataset whose splits pictures can be compared with.

    Errors: DataError when a split is missing, its pictures have no one size, or its files are not
    what `prepare` publishes.
    """
    dataset = Dataset.of(open_artifact(uri), field="reference")
    dataset.shape(field="reference")
    check_columns(
        dataset.artifact, len(dataset.info.classes), field="reference",
        columns=("id", "image", "label"), labelled=False,
    )  # fmt: skip
    for split in ("train", "test"):
        if not dataset.row_groups(split):
            remedy = "prepare it with a train and a test split"
            raise DataError("reference", uri, f"has no {split} split", remedy)
    return dataset


def reference_rows(dataset: Dataset) -> pa.Table:
    """The training and the test split, row by row; ids cannot be those of drawn pictures."""
    tables = []
    for split in ("train", "test"):
        for group in dataset.row_groups(split):
            has_captions = "caption" in dataset.reader.columns(group.file)
            columns = ("id", "label", *(("caption",) if has_captions else ()))
            part = dataset.reader.read(group, columns)
            ids = [f"reference:{split}:{row_id}" for row_id in part["id"].to_pylist()]
            tables.append(
                _rows(
                    rows_of_group(group, ids), split, part["label"].to_pylist(),
                    part["caption"].to_pylist() if has_captions else None,
                )
            )  # fmt: skip
    return pa.concat_tables(tables).combine_chunks()


def find_generated(
    uri: str, classes: Sequence[str], *, limit: int | None, seed: int
) -> ComparedPictures:
    """Published samples or a folder; with a limit, a sample over all classes drawn by the seed.

    classes: the reference's. Errors: DataError for an empty input, or a class that the reference
    lacks.
    """
    root = parse_uri(uri, field="input")
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        found, names = _of_folder(root)
    else:
        found, names = _of_samples(artifact)
    chosen = sample(found.rows[ID].to_pylist(), names, limit=limit, seed=seed)
    labels = _labels([names[at] for at in chosen], classes)
    rows = found.rows.take(pa.array(chosen, pa.int64()))
    at = rows.schema.get_field_index(LABEL)
    return replace(
        found,
        rows=rows.set_column(at, LABEL, pa.array(labels, pa.int64())),
        # A quick look tells of what it looked at.
        rejected=found.rejected if limit is None else (),
    )


def _of_samples(artifact: Artifact) -> tuple[ComparedPictures, list[str | None]]:
    if artifact.manifest.kind == Kind.PICTURES:
        return _of_pictures(artifact)
    if artifact.manifest.kind != Kind.SAMPLES:
        raise DataError(
            "input", str(artifact.uri), f"is a published {artifact.manifest.kind}, not samples",
            "draw pictures with `darkroom sample` or `darkroom generate` and give their URI",
        )  # fmt: skip
    samples = Samples.of(artifact)
    tables: list[pa.Table] = []
    names: list[str | None] = []
    prompt = ("prompt",) if samples.info.prompts else ()
    for group in samples.row_groups():
        part = samples.reader.read(group, ("id", "class_name", *prompt))
        names += part["class_name"].to_pylist()
        prompts = part["prompt"].to_pylist() if prompt else None
        tables.append(_rows(rows_of_group(group, part["id"].to_pylist()), prompts=prompts))
    if not names:
        raise DataError("input", str(artifact.uri), "holds no pictures", "draw some")
    rows = pa.concat_tables(tables).combine_chunks()
    source = PictureOrigin.of(artifact)
    info = samples.info
    drawn = DrawnFacts(
        model=info.model.digest, sampler=info.sampler, num_steps=info.num_steps,
        guidance_scale=info.guidance_scale, seed=info.seed,
        precision=artifact.manifest.config.get("precision"),
    )  # fmt: skip
    parent = artifact.as_parent("samples")
    found = ComparedPictures(rows, parent, source, artifact.content_digest, drawn)
    return found, names


def _of_pictures(artifact: Artifact) -> tuple[ComparedPictures, list[str | None]]:
    """What `generate` drew, with the prompt that the model was given."""
    reader = RowGroupReader(artifact)
    tables: list[pa.Table] = []
    for file in (entry.name for entry in artifact.entries(DATA_PREFIX)):
        columns = reader.columns(file)
        if not {IMAGE, FILE_NAME} & set(columns):
            raise DataError(
                "input", str(artifact.uri), "holds prompts and no pictures",
                "draw them: `darkroom generate` with a model",
            )  # fmt: skip
        prompt = "enhanced_prompt" if "enhanced_prompt" in columns else "prompt"
        for group in reader.groups(file):
            part = reader.read(group, ("id", prompt))
            located = rows_of_group(group, part["id"].to_pylist())
            tables.append(_rows(located, prompts=part[prompt].to_pylist()))
    if not tables:
        raise DataError("input", str(artifact.uri), "holds no pictures", "draw some")
    rows = pa.concat_tables(tables).combine_chunks()
    source = PictureOrigin.of(artifact)
    found = ComparedPictures(rows, artifact.as_parent("samples"), source, artifact.content_digest)
    return found, [None] * len(rows)


def _of_folder(root: Uri) -> tuple[ComparedPictures, list[str | None]]:
    listing = list_folder(root, field="input", classes="wanted", remedy=_REMEDY)
    names = [None if item.label is None else listing.classes[item.label] for item in listing.items]
    rows = _rows(rows_of_files(listing.items))
    parent = replace(listing.parent, role="samples")
    source = PictureOrigin(str(root))
    found = ComparedPictures(rows, parent, source, parent.digest, rejected=listing.rejects)
    return found, names


def _rows(
    located: dict[str, list[Any]], set_name: str = GENERATED,
    labels: list[int | None] | None = None, prompts: list[str | None] | None = None,
) -> pa.Table:  # fmt: skip
    none = [None] * len(located[ID])
    sets = [set_name] * len(none)
    return pa.table(
        {SET: sets, LABEL: labels or none, PROMPT: prompts or none, **located}, schema=ROW_SCHEMA
    )


def _labels(names: Sequence[str | None], classes: Sequence[str]) -> list[int | None]:
    """Indices into the reference's classes; all None when any picture has no class."""
    if None in names or not classes:
        return [None] * len(names)
    unknown = sorted(set(names) - set(classes), key=str)
    if unknown:
        raise DataError(
            "input", unknown[0], "is a class that the reference does not have",
            f"it has: {', '.join(classes[:12])}",
        )  # fmt: skip
    number = {name: index for index, name in enumerate(classes)}
    return [number[str(name)] for name in names]
