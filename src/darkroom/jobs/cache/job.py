"""`darkroom cache`: a dataset's pictures and captions as a model's latents and embeddings.

    driver: ids of the dataset, and where an earlier cache has them     (source.py)
    Ray:    read -> encode -> commit, and merge                         (read.py, encode.py)

Commits, reruns, files of a sensible size and the publication are the batch core's (`jobs/batch`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.config import build_config
from darkroom.jobs.apart import check_apart
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.info import names_of, plain_values
from darkroom.jobs.artifacts.latents import NO_TEXT_NAME, Latents, LatentsInfo
from darkroom.jobs.batch.job import BatchRun, open_batch
from darkroom.jobs.batch.merge import Folder, Layout
from darkroom.jobs.batch.once import entry_of, made_once
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import Stage, StageFunction
from darkroom.jobs.cache.config import CacheConfig
from darkroom.jobs.cache.keys import Encoding
from darkroom.jobs.cache.read import CacheReading, reading
from darkroom.jobs.cache.schema import COUNTS, LATENTS_SCHEMA
from darkroom.jobs.cache.source import open_dataset, open_earlier, plan_rows
from darkroom.jobs.drawing.stage import model_stage
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.models.families.family import TEXT_FOLDERS, VAE_FOLDERS
from darkroom.models.families.find import family_of, json_object
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import Artifact, PartWriter

logger = logging.getLogger(__name__)


def run(config: CacheConfig) -> dict[str, Any]:
    """Encode and publish; returns what `--json` prints.

    Errors: DataError (input, reuse), ConfigError (base, cluster), those of storage.
    """
    check_apart(config.output, config.input, field="input")
    base = find_model(config.base, field="base")
    family = family_of(base, field="base")
    vae_config = json_object(base.read("vae/config.json")) or {}
    dataset = open_dataset(config, multiple=family.pixel_multiple(vae_config))
    earlier, encoding = open_earlier(config), _encoding(config, base)
    plan = plan_rows(dataset, earlier, config)
    with open_batch(
        config,
        kind=Kind.LATENTS,
        rows=plan.rows,
        lengths=plan.lengths,
        parents=[dataset.artifact.as_parent("data"), base.as_parent("base")],
    ) as batch:
        if batch.completed is not None:
            return _result(batch.completed)
        if earlier is not None and config.text:
            _take_over(batch.writer, earlier, encoding)
        what = CacheReading(
            PictureOrigin.of(dataset.artifact),
            None if earlier is None else PictureOrigin.of(earlier.artifact),
            encoding,
            config.variants,
            config.augment,
        )
        batch.run(
            [reading(what), _encoding_stage(config, base, batch.writer)],
            schema=LATENTS_SCHEMA,
            description="cache",
            unit="pictures",
            note=_counts,
        )
        batch.merge(
            Layout(config.file_size_mb, config.row_group_rows, config.row_group_mb),
            [Folder(f"data/{split}", {"split": split}) for split in plan.splits],
        )
        return _result(_publish(batch, config, encoding, family.name, plan.splits))


def _encoding(config: CacheConfig, base: FoundModel) -> Encoding:
    return Encoding(
        vae_digest=base.folders_digest(VAE_FOLDERS),
        text_digest=base.folders_digest(TEXT_FOLDERS) if config.text else None,
        precision=config.encoders.precision,
        stored_dtype=config.stored_dtype,
        seed=config.seed,
        augment=config.augment.to_dict(),
    )


def _encoding_stage(config: CacheConfig, base: FoundModel, writer: PartWriter) -> Stage:
    make = partial(make_encoding, config.to_dict(), base, writer)
    return model_stage("encode", config.encoders, make)


def make_encoding(values: Mapping[str, Any], base: FoundModel, writer: PartWriter) -> StageFunction:
    """The encoding stage's function, on a worker."""
    from darkroom.jobs.cache.encode import EncodeRows  # these two import torch
    from darkroom.jobs.cache.encoder import load_encoder

    config = build_config(CacheConfig, values)
    folders = (*VAE_FOLDERS, *TEXT_FOLDERS) if config.text else VAE_FOLDERS
    return EncodeRows(
        partial(
            load_encoder, config.encoders, base, base.folders_bytes(folders), with_text=config.text
        ),
        writer,
        with_text=config.text,
        batch_size=config.batch_size,
        stored_dtype=config.stored_dtype,
    )


def _take_over(writer: PartWriter, earlier: Latents, encoding: Encoding) -> None:
    """What stands for no caption, where all captions may come from the earlier cache."""
    info = earlier.info
    then = (info.text_digest, info.precision, info.stored_dtype)
    if then == (encoding.text_digest, encoding.precision, encoding.stored_dtype):
        made_once(writer, NO_TEXT_NAME, lambda: earlier.artifact.read_bytes(NO_TEXT_NAME))


def _counts(rows: pa.Table) -> Mapping[str, int]:
    counts = {name: int(pc.sum(rows[name]).as_py()) for name in COUNTS}
    return {**counts, "num_truncated": int(pc.sum(rows["is_truncated"]).as_py() or 0)}


def _publish(
    batch: BatchRun,
    config: CacheConfig,
    encoding: Encoding,
    family: str,
    splits: Sequence[Split],
) -> Artifact:
    counts: Counter[str] = Counter()
    split_rows: Counter[str] = Counter(dict.fromkeys(SPLITS, 0))
    for commit in batch.commits:
        counts.update(commit.notes)
        split_rows[splits[commit.piece]] += sum(entry.rows or 0 for entry in commit.files)
    if counts["num_truncated"]:
        logger.warning(
            "%d captions are longer than a text encoder reads; what is over is left out",
            counts["num_truncated"],
        )
    return batch.publish(
        [entry_of(batch.writer, NO_TEXT_NAME)] if config.text else [],
        info=partial(
            LatentsInfo,
            split_rows=dict(split_rows),
            variants=config.variants,
            augment=config.augment.to_dict() if config.variants > 1 else None,
            stored_dtype=config.stored_dtype,
            precision=config.encoders.precision,
            family=family,
            vae_digest=encoding.vae_digest,
            text_digest=encoding.text_digest,
            num_encoded=counts["num_encoded"],
            num_reused=counts["num_reused"],
            num_texts_encoded=counts["num_texts"],
            num_truncated=counts["num_truncated"],
        ),
    )


def _result(artifact: Artifact) -> dict[str, Any]:
    info = plain_values(LatentsInfo.of(artifact))
    shown = (
        *("num_rows", "split_rows", "variants", "family", "num_encoded", "num_reused"),
        *("num_texts_encoded", "num_truncated", "num_rejected", "rejected", "figures"),
    )
    return {**names_of(artifact), **{name: info[name] for name in shown}}
