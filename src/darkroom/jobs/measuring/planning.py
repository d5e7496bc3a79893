"""What is to be measured, from the inputs: everything that is the user's to mend is found here.

Reads listings and labels, and decodes the first picture; nothing is written. Of pictures that are
still to be drawn, `foresee` finds as much before anything is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.drawing.foreseen import ForeseenPictures
from darkroom.jobs.measuring.comparison import LABEL, PROMPT, SET, TEST
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import Facts, choose, columns_of
from darkroom.jobs.measuring.first_look import check_first
from darkroom.jobs.measuring.gate import check_gate
from darkroom.jobs.measuring.measurement import Inputs, Measurement
from darkroom.jobs.measuring.names import LPIPS, LPIPS_DIVERSITY, NEIGHBOURHOODS, NETWORKS
from darkroom.jobs.measuring.networks import NetworkExtractor, find_networks
from darkroom.jobs.measuring.pairs import has_pairs, with_partners
from darkroom.jobs.measuring.reference import Reference, check_kept, find_reference
from darkroom.jobs.measuring.source import ComparedPictures, find_generated, foreseen_rows
from darkroom.jobs.measuring.stages import Reading
from darkroom.metrics.kernel import MIN_ROWS
from darkroom.storage import Parent

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What is measured of what was asked for, and by what."""

    metrics: tuple[str, ...]
    skipped: dict[str, str]
    """Metrics that are left out, and why."""
    networks: Sequence[NetworkExtractor]


@dataclass(frozen=True)
class Foresight:
    """What was found while pictures were still to be drawn; `plan` does not look for it again."""

    reference: Reference
    there: Mapping[str, ComparedPictures]
    """Field -> a set that need not be drawn."""
    choice: Choice

    @property
    def parents(self) -> Sequence[Parent]:
        """What the figures descend from, as far as it is there."""
        there = (one.parent for one in self.there.values())
        return (*there, *_parents(self.reference, self.choice.networks))


def foresee(
    settings: MeasuringConfig,
    inputs: Inputs,
    drawn: Mapping[str, ForeseenPictures],
    *,
    limit: int | None,
    seed: int,
) -> Foresight:
    """Refuse what `plan` would, as far as it can be known without the pictures.

    drawn: field -> what will be drawn for it.
    Errors: as `plan`.
    """
    reference = find_reference(inputs.reference)
    there: dict[str, ComparedPictures] = {}
    rows: list[pa.Table] = []
    for field, uri in inputs.sets:
        if field in drawn:
            rows.append(
                foreseen_rows(drawn[field], reference.classes, limit=limit, seed=seed, field=field)
            )
        else:
            there[field] = find_generated(
                uri, reference.classes, limit=limit, seed=seed, field=field
            )
            rows.append(there[field].rows)
    choice = _choice(settings, reference, rows)
    for field, pictures in drawn.items():
        _check_size(field, pictures, reference)
    # Nothing is read from where pictures will be.
    places = {field: PictureOrigin(uri) for field, uri in inputs.sets}
    places |= {field: one.source for field, one in there.items()}
    reading = _reading(reference, places)
    for one in there.values():
        check_first(one, reading)
    _check_numbers(settings, choice.metrics, rows)
    return Foresight(reference, there, choice)


def plan(
    settings: MeasuringConfig,
    inputs: Inputs,
    *,
    limit: int | None,
    seed: int,
    foresight: Foresight | None = None,
) -> Measurement:
    """Look at all inputs; nothing is written.

    foresight: where pictures had to be drawn first.
    Errors: DataError for pictures or metrics that do not fit, those of storage.
    """
    reference = foresight.reference if foresight else find_reference(inputs.reference)
    there = foresight.there if foresight else {}
    sets = {
        field: there[field] if field in there
        else find_generated(uri, reference.classes, limit=limit, seed=seed, field=field)
        for field, uri in inputs.sets
    }  # fmt: skip
    pictures, against = sets["input"], sets.get("against")
    drawn = list(sets.values())
    choice = _choice(
        settings, reference, [one.rows for one in drawn], foresight.choice if foresight else None
    )
    rows = pa.concat_tables([*(one.rows for one in drawn), reference.rows]).combine_chunks()
    if LPIPS_DIVERSITY in choice.metrics:
        rows = with_partners(rows, folders=_folders(drawn, reference), seed=seed)
    reading = _reading(reference, {field: one.source for field, one in sets.items()})
    for one in drawn:
        check_first(one, reading)
    _check_numbers(settings, choice.metrics, [one.rows for one in drawn])
    return Measurement(
        settings,
        seed,
        reading,
        rows=rows,
        num_real=len(reference.rows),
        parents=(*(one.parent for one in drawn), *_parents(reference, choice.networks)),
        rejected=[reject for one in drawn for reject in one.rejected],
        metrics=choice.metrics,
        skipped=choice.skipped,
        generated=pictures,
        against=against,
        reference=reference,
        networks=choice.networks,
    )


def _choice(
    settings: MeasuringConfig,
    reference: Reference,
    drawn: Sequence[pa.Table],
    before: Choice | None = None,
) -> Choice:
    """Of these rows, one table a set; what was found before is neither told nor looked for again.

    Errors: DataError and ConfigError for what cannot be measured, judged or found.
    """
    metrics, skipped = choose(settings.wanted, _facts(drawn, reference, settings))
    for name, reason in skipped.items():
        if before is None or name not in before.skipped:
            logger.warning("%s is left out: %s", name, reason)
    check_gate(
        settings.require, settings.gate, metrics=metrics, skipped=skipped,
        num_images=len(drawn[0]), reference=reference.content,
        num_against=len(drawn[1]) if len(drawn) > 1 else None,
    )  # fmt: skip
    if before is not None and before.metrics == metrics:
        return Choice(metrics, skipped, before.networks)
    networks = find_networks(settings, columns_of(metrics))
    check_kept(
        reference,
        {one.name: one.facts(settings.extractors) for one in networks if one.name != LPIPS},
    )
    return Choice(metrics, skipped, networks)


def _check_size(field: str, pictures: ForeseenPictures, reference: Reference) -> None:
    """Errors: DataError for pictures that will have another size than the reference's."""
    drawn, real = pictures.shape, reference.making.shape
    if drawn is not None and (drawn.height, drawn.width) != (real.height, real.width):
        raise DataError(
            field, f"{drawn.height}x{drawn.width}",
            f"the size that the model draws, is not the {real.height}x{real.width} of the "
            "reference",
            "give a model and a reference of one size",
        )  # fmt: skip


def _check_numbers(
    settings: MeasuringConfig, metrics: Sequence[str], drawn: Sequence[pa.Table]
) -> None:
    """Refuse too few pictures before they are read. Errors: DataError, ConfigError."""
    for field, rows in zip(("input", "against"), drawn, strict=False):
        number = len(rows)
        for metric in metrics:
            if metric.startswith("kernel_") and number < MIN_ROWS:
                raise DataError(
                    field, number, f"is too few pictures for {metric}, which takes {MIN_ROWS}",
                    "give more pictures, or leave it out of metrics",
                )  # fmt: skip
            if metric.startswith(NEIGHBOURHOODS) and number <= settings.num_neighbours:
                raise ConfigError(
                    "num_neighbours", settings.num_neighbours,
                    f"is not below the {number} pictures of {field}, and {metric} asks for that",
                    "lower it, or give more pictures",
                )  # fmt: skip


def _reading(reference: Reference, places: Mapping[str, PictureOrigin]) -> Reading:
    return Reading(places["input"], reference.origin, reference.making, places.get("against"))


def _parents(reference: Reference, networks: Sequence[NetworkExtractor]) -> Sequence[Parent]:
    return (reference.parent, *(network.model.as_parent(network.name) for network in networks))


def _folders(drawn: Sequence[ComparedPictures], reference: Reference) -> set[str]:
    """The sets whose pictures are files of a folder."""
    origins = {**{one.rows[SET][0].as_py(): one.source for one in drawn}, TEST: reference.origin}
    return {name for name, origin in origins.items() if origin.digest is None}


def _facts(drawn: Sequence[pa.Table], reference: Reference, settings: MeasuringConfig) -> Facts:
    return Facts(
        reference.making.shape,
        num_classes=len(reference.classes),
        reference_is_labelled=reference.is_labelled,
        classes_are_asked=not any(rows[LABEL].null_count for rows in drawn),
        prompts_are_known=not any(rows[PROMPT].null_count for rows in drawn),
        networks=frozenset(
            name for name in NETWORKS if getattr(settings.networks, name) is not None
        ),
        has_training_split=reference.has_training_split,
        lpips_net=None if settings.networks.lpips is None else settings.networks.lpips.net,
        has_pairs=all(has_pairs(rows) for rows in drawn),
        kept_columns=reference.kept_columns,
    )
