"""Drawn pictures, as rows of a batch run: the set that is measured, and one to hold it against.

They are published samples, pictures of prompts, or the files of a folder whose subfolders name the
classes that were asked for. A row says where its picture lies; its bytes are read by the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from darkroom.config import json_digest
from darkroom.errors import DataError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
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
from darkroom.jobs.drawing.foreseen import ForeseenPictures
from darkroom.jobs.measuring.comparison import AGAINST, CLASS, GENERATED, LABEL, PROMPT, SET
from darkroom.jobs.pictures.folder import list_folder
from darkroom.jobs.rejects import Reject
from darkroom.jobs.seeding import sample
from darkroom.storage import Artifact, Parent, Uri, open_artifact, parse_uri

ROW_SCHEMA = pa.schema(
    [
        (SET, pa.string()),
        (LABEL, pa.int64()),
        (CLASS, pa.string()),
        (PROMPT, pa.string()),
        *LOCATION,
    ]
)

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

    @property
    def prompts_digest(self) -> str | None:
        """Of the prompts, in order; None when any picture has none."""
        prompts = self.rows[PROMPT]
        return None if prompts.null_count else json_digest(prompts.to_pylist())


def find_generated(
    uri: str, classes: Sequence[str], *, limit: int | None, seed: int, field: str = "input"
) -> ComparedPictures:
    """Published samples or a folder; with a limit, a sample over all classes drawn by the seed.

    classes: the reference's. field: the config's, which errors name; `against` for the second set.
    Errors: DataError for an empty input, or a class that the reference lacks.
    """
    root = parse_uri(uri, field=field)
    try:
        artifact = open_artifact(root)
    except ObjectNotFoundError:
        found, names = _of_folder(root, field)
    else:
        found, names = _of_samples(artifact, field)
    found = replace(
        found,
        rows=_chosen(found.rows, names, classes, limit=limit, seed=seed, field=field),
        # A quick look tells of what it looked at.
        rejected=found.rejected if limit is None else (),
    )
    return found if field == "input" else _as_second(found)


def foreseen_rows(
    pictures: ForeseenPictures, classes: Sequence[str], *, limit: int | None, seed: int, field: str
) -> pa.Table:
    """The rows of pictures that are not drawn yet: where they will lie is not known.

    Errors: DataError for a class that the reference lacks.
    """
    located: dict[str, list[Any]] = {name: [None] * len(pictures.rows) for name, _ in LOCATION}
    located[ID] = pictures.rows["id"].to_pylist()
    rows = picture_rows(located, prompts=pictures.rows["prompt"].to_pylist())
    names = pictures.rows["class_name"].to_pylist()
    return _chosen(rows, names, classes, limit=limit, seed=seed, field=field)


def _chosen(
    rows: pa.Table, names: Sequence[str | None], classes: Sequence[str],
    *, limit: int | None, seed: int, field: str,
) -> pa.Table:  # fmt: skip
    chosen = sample(rows[ID].to_pylist(), names, limit=limit, seed=seed)
    asked = [names[at] for at in chosen]
    rows = _replaced(rows.take(pa.array(chosen, pa.int64())), CLASS, asked, pa.string())
    return _replaced(rows, LABEL, _labels(asked, classes, field), pa.int64())


def are_paired(one: ComparedPictures, other: ComparedPictures) -> bool:
    """Each picture of one has its like in the other: the same id, class and prompt in the same
    row, drawn with the same seed where that is known."""
    if one.drawn and other.drawn and one.drawn.seed != other.drawn.seed:
        return False
    ids = [row_id.removeprefix(_PREFIX) for row_id in other.rows[ID].to_pylist()]
    same: bool = one.rows.select((LABEL, PROMPT)).equals(other.rows.select((LABEL, PROMPT)))
    return same and one.rows[ID].to_pylist() == ids


_PREFIX = f"{AGAINST}:"


def _as_second(found: ComparedPictures) -> ComparedPictures:
    """Ids and role of a set that stands beside the first."""
    ids = [_PREFIX + row_id for row_id in found.rows[ID].to_pylist()]
    rows = _replaced(found.rows, ID, ids, pa.string())
    return replace(
        found,
        rows=_replaced(rows, SET, [AGAINST] * len(ids), pa.string()),
        parent=replace(found.parent, role=AGAINST),
        rejected=[replace(reject, id=_PREFIX + reject.id) for reject in found.rejected],
    )


def _replaced(rows: pa.Table, name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Table:
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, name, pa.array(values, kind))


def _of_samples(artifact: Artifact, field: str) -> tuple[ComparedPictures, list[str | None]]:
    if artifact.manifest.kind == Kind.PICTURES:
        return _of_pictures(artifact, field)
    if artifact.manifest.kind != Kind.SAMPLES:
        raise DataError(
            field, str(artifact.uri), f"is a published {artifact.manifest.kind}, not samples",
            "draw pictures with `darkroom sample` or `darkroom generate` and give their URI",
        )  # fmt: skip
    samples = Samples.of(artifact, field=field)
    tables: list[pa.Table] = []
    names: list[str | None] = []
    prompt = ("prompt",) if samples.info.prompts else ()
    for group in samples.row_groups():
        part = samples.reader.read(group, ("id", "class_name", *prompt))
        names += part["class_name"].to_pylist()
        prompts = part["prompt"].to_pylist() if prompt else None
        tables.append(picture_rows(rows_of_group(group, part["id"].to_pylist()), prompts=prompts))
    if not names:
        raise DataError(field, str(artifact.uri), "holds no pictures", "draw some")
    rows = pa.concat_tables(tables).combine_chunks()
    source = PictureOrigin.of(artifact)
    info = samples.info
    drawn = DrawnFacts(
        model=info.model.content_digest or info.model.digest,
        sampler=info.sampler, num_steps=info.num_steps,
        guidance_scale=info.guidance_scale, seed=info.seed,
        precision=artifact.manifest.config.get("precision"),
    )  # fmt: skip
    parent = artifact.as_parent("samples")
    found = ComparedPictures(rows, parent, source, artifact.content_digest, drawn)
    return found, names


def _of_pictures(artifact: Artifact, field: str) -> tuple[ComparedPictures, list[str | None]]:
    """What `generate` drew, with the prompt that the model was given."""
    reader = RowGroupReader(artifact)
    tables: list[pa.Table] = []
    for file in (entry.name for entry in artifact.entries(DATA_PREFIX)):
        columns = reader.columns(file)
        if not {IMAGE, FILE_NAME} & set(columns):
            raise DataError(
                field, str(artifact.uri), "holds prompts and no pictures",
                "draw them: `darkroom generate` with a model",
            )  # fmt: skip
        prompt = "enhanced_prompt" if "enhanced_prompt" in columns else "prompt"
        for group in reader.groups(file):
            part = reader.read(group, ("id", prompt))
            located = rows_of_group(group, part["id"].to_pylist())
            tables.append(picture_rows(located, prompts=part[prompt].to_pylist()))
    if not tables:
        raise DataError(field, str(artifact.uri), "holds no pictures", "draw some")
    rows = pa.concat_tables(tables).combine_chunks()
    source = PictureOrigin.of(artifact)
    found = ComparedPictures(rows, artifact.as_parent("samples"), source, artifact.content_digest)
    return found, [None] * len(rows)


def _of_folder(root: Uri, field: str) -> tuple[ComparedPictures, list[str | None]]:
    listing = list_folder(root, field=field, classes="wanted", remedy=_REMEDY)
    names = [None if item.label is None else listing.classes[item.label] for item in listing.items]
    rows = picture_rows(rows_of_files(listing.items))
    parent = replace(listing.parent, role="samples")
    source = PictureOrigin(str(root))
    found = ComparedPictures(rows, parent, source, parent.digest, rejected=listing.rejects)
    return found, names


def picture_rows(
    located: dict[str, list[Any]], set_name: str = GENERATED,
    labels: list[int | None] | None = None, prompts: list[str | None] | None = None,
) -> pa.Table:  # fmt: skip
    none = [None] * len(located[ID])
    sets = [set_name] * len(none)
    return pa.table(
        {SET: sets, LABEL: labels or none, CLASS: none, PROMPT: prompts or none, **located},
        schema=ROW_SCHEMA,
    )


def _labels(names: Sequence[str | None], classes: Sequence[str], field: str) -> list[int | None]:
    """Indices into the reference's classes; all None when any picture has no class."""
    if None in names or not classes:
        return [None] * len(names)
    unknown = sorted(set(names) - set(classes), key=str)
    if unknown:
        raise DataError(
            field, unknown[0], "is a class that the reference does not have",
            f"it has: {', '.join(classes[:12])}",
        )  # fmt: skip
    number = {name: index for index, name in enumerate(classes)}
    return [number[str(name)] for name in names]
