"""`darkroom prepare`: list the source, plan, run the pipeline, publish one dataset.

Everything that is the user's to fix (empty input, duplicate ids, output inside the input) is
found before Ray starts and before anything is written. Files that cannot be used never stop the
job; they are rows of `dead_letters/part-00000.parquet`, and counted by reason.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from darkroom.errors import DarkroomError, DataError
from darkroom.jobs.apart import check_apart
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.pictures.config import SPLITS, Split
from darkroom.jobs.pictures.listing import Listing
from darkroom.jobs.pictures.rejects import DeadLetter, write_dead_letters
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.empty_classes import without_empty_classes
from darkroom.jobs.prepare.parts import WrittenPart
from darkroom.jobs.prepare.plan import Chunk, plan_chunks
from darkroom.jobs.prepare.source import open_source
from darkroom.jobs.progress import progress
from darkroom.jobs.session import ray_session
from darkroom.storage import Artifact, Output, open_output

logger = logging.getLogger(__name__)

_NEEDED_FOR: dict[Split, str] = {
    "train": "training needs",
    "validation": "the validation loss is measured on",
    "test": "evaluate compares with",
}


def run(config: PrepareConfig) -> dict[str, Any]:
    """Prepare and publish; returns what `--json` prints.

    Errors: DataError (nothing usable in the input), UriError and OutputExistsError (output).
    """
    source = getattr(config.source, "uri", None)
    if source is not None:
        check_apart(config.output, source, field="source.uri")
    listing = open_source(config.source).listing()
    if config.source.kind in ("image_folder", "captions"):
        listing = without_empty_classes(listing, config)
        _check_dead_letters(
            listing.dead_letters, len(listing.items) + len(listing.dead_letters), config
        )
    chunks = plan_chunks(listing.items, config)
    _tell_of_limit(chunks, listing, config)
    parents = [listing.parent]
    with open_output(config.output, kind=Kind.DATASET, config=config, parents=parents) as output:
        if output.completed is not None:
            return _result(output.completed)
        # Tasks only, no actors: as many logical CPUs as cores do, where training needs more.
        num_cpus = max(os.cpu_count() or 1, math.ceil(config.num_cpus))
        with ray_session(num_cpus=num_cpus):
            # Imports ray: only after the checks that need none.
            from darkroom.jobs.prepare.colour import choose_channels

            chosen = config.model_copy(update={"channels": choose_channels(chunks, config)})
            parts = _write_parts(chunks, listing, chosen, output)
        return _result(_publish(parts, listing, chosen, output))


def _tell_of_limit(chunks: Sequence[Chunk], listing: Listing, config: PrepareConfig) -> None:
    drawn = {item.label for chunk in chunks for item in chunk.items} - {None}
    if config.limit is not None and len(drawn) < len(listing.classes):
        logger.warning(
            "limit: %d pictures are of %d of the %d classes",
            config.limit, len(drawn), len(listing.classes),
        )  # fmt: skip


def _write_parts(
    chunks: Sequence[Chunk], listing: Listing, config: PrepareConfig, output: Output
) -> list[WrittenPart]:
    from darkroom.jobs.prepare.pipeline import run_pipeline

    num_items = sum(len(chunk.items) for chunk in chunks)
    num_files = num_items + len(listing.dead_letters)
    letters = list(listing.dead_letters)
    parts: list[WrittenPart] = []
    with progress(num_items, "prepare", "pictures") as bar:
        written = run_pipeline(
            chunks, config, output.writer, on_chunk=lambda chunk: bar.advance(len(chunk.items))
        )
        for part in written:
            parts.append(part)
            letters += part.dead_letters
            _check_dead_letters(letters, num_files, config)
    _check_complete(chunks, parts, config)
    return parts


def _check_dead_letters(
    letters: Sequence[DeadLetter], num_files: int, config: PrepareConfig
) -> None:
    """Stop as soon as the share of bad files is over the limit."""
    all_dead = len(letters) >= num_files
    if not all_dead and len(letters) <= config.max_dead_letter_share * num_files:
        return
    counts = Counter(letter.reason for letter in letters).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    first = f"first: {letters[0].path}: {letters[0].detail}"
    raise DataError(
        "source",
        None,
        f"at least {len(letters)} of {num_files} files cannot be used ({reasons}; {first})",
        "check that these are JPEG, PNG or WebP files"
        if all_dead
        else "repair or remove them, or raise max_dead_letter_share",
    )


def _check_complete(
    chunks: Sequence[Chunk], parts: Sequence[WrittenPart], config: PrepareConfig
) -> None:
    """Every listed picture is in the output once, or a dead letter: nothing lost, none doubled."""
    for split in SPLITS:
        copies = config.augment.copies if split == "train" else 0
        num_items = sum(len(chunk.items) for chunk in chunks if chunk.split == split)
        mine = [part for part in parts if part.split == split]
        num_good = num_items - sum(len(part.dead_letters) for part in mine)
        num_rows = sum(part.num_rows for part in mine)
        if num_rows != num_good * (1 + copies):
            raise DarkroomError(
                f"{split}: {num_rows} rows were written for {num_good} pictures with {copies} "
                "copies each; nothing is published (this is a fault in Darkroom: report it)"
            )


def _publish(
    parts: Sequence[WrittenPart], listing: Listing, config: PrepareConfig, output: Output
) -> Artifact:
    letters = [*listing.dead_letters, *(letter for part in parts for letter in part.dead_letters)]
    files = [part.entry for part in parts if part.entry is not None]
    num_rows = {
        split: sum(part.num_rows for part in parts if part.split == split) for split in SPLITS
    }
    if letters:
        files.append(write_dead_letters(letters, output.writer))
    is_split = any(item.split is not None for item in listing.items)
    for split, needed_for in _NEEDED_FOR.items():
        if not num_rows[split] and (is_split or getattr(config.split, split)):
            logger.warning("not one picture is in the %s split, which %s", split, needed_for)
    metadata = {
        "classes": list(listing.classes),
        "num_rows": num_rows,
        "image_size": _image_size(parts, config),
        "channels": config.channels,
        "num_dead_letters": len(letters),
        "dead_letters": dict(sorted(Counter(letter.reason for letter in letters).items())),
        "num_skipped": listing.num_skipped,
        "source": config.source.to_dict(),
        "augment": config.augment.to_dict() if config.augment.copies else None,
    }
    return output.publish(files, rows=sum(num_rows.values()), metadata=metadata)


def _image_size(parts: Sequence[WrittenPart], config: PrepareConfig) -> list[int] | None:
    """[height, width] of all pictures; None, said, where they differ."""
    sizes = sorted({size for part in parts for size in part.sizes})
    if config.image_size:
        return list(config.image_size)
    if len(sizes) < 2:
        return list(sizes[0]) if sizes else None
    (height, width), (other_height, other_width) = sizes[:2]
    logger.info(
        "image_size: pictures keep their own, %dx%d and %dx%d among them (height x width); "
        "to train, set one", height, width, other_height, other_width,
    )  # fmt: skip
    return None


def _result(artifact: Artifact) -> dict[str, Any]:
    metadata = artifact.manifest.metadata
    figures = (
        "num_rows",
        "image_size",
        "channels",
        "num_dead_letters",
        "dead_letters",
        "num_skipped",
        "classes",
    )
    return {
        "output": str(artifact.uri),
        "digest": artifact.digest,
        **{name: metadata[name] for name in figures},
    }
