"""What is to be measured, from the inputs: everything that is the user's to mend is found here.

Reads listings and labels, and decodes the first picture; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.measuring.comparison import LABEL, PROMPT, SET, TEST
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.entries import Facts, choose, columns_of
from darkroom.jobs.measuring.first_look import check_first
from darkroom.jobs.measuring.gate import check_gate
from darkroom.jobs.measuring.measurement import Inputs, Measurement
from darkroom.jobs.measuring.names import LPIPS, LPIPS_DIVERSITY, NEIGHBOURHOODS, NETWORKS
from darkroom.jobs.measuring.networks import find_networks
from darkroom.jobs.measuring.pairs import has_pairs, with_partners
from darkroom.jobs.measuring.reference import Reference, check_kept, find_reference
from darkroom.jobs.measuring.source import ComparedPictures, find_generated
from darkroom.jobs.measuring.stages import Reading
from darkroom.metrics.kernel import MIN_ROWS


def plan(settings: MeasuringConfig, inputs: Inputs, *, limit: int | None, seed: int) -> Measurement:
    """Look at all inputs; nothing is written.

    Errors: DataError for pictures or metrics that do not fit, those of storage.
    """
    reference = find_reference(inputs.reference)
    pictures = find_generated(inputs.generated, reference.classes, limit=limit, seed=seed)
    against = None
    if inputs.against is not None:
        against = find_generated(
            inputs.against, reference.classes, limit=limit, seed=seed, field="against"
        )
    drawn = [pictures, *([] if against is None else [against])]
    metrics, skipped = choose(settings.wanted, _facts(drawn, reference, settings))
    rows = pa.concat_tables([*(one.rows for one in drawn), reference.rows]).combine_chunks()
    if LPIPS_DIVERSITY in metrics:
        rows = with_partners(rows, folders=_folders(drawn, reference), seed=seed)
    check_gate(
        settings.require, settings.gate, metrics=metrics, skipped=skipped,
        num_images=len(pictures.rows), reference=reference.content,
        num_against=None if against is None else len(against.rows),
    )  # fmt: skip
    networks = find_networks(settings, columns_of(metrics))
    check_kept(
        reference,
        {one.name: one.facts(settings.extractors) for one in networks if one.name != LPIPS},
    )
    reading = Reading(
        pictures.source, reference.origin, reference.making, against.source if against else None
    )
    for one in drawn:
        check_first(one, reading)
    _check_numbers(settings, metrics, drawn)
    return Measurement(
        settings,
        seed,
        reading,
        rows=rows,
        num_real=len(reference.rows),
        parents=(
            *(one.parent for one in drawn),
            reference.parent,
            *(network.model.as_parent(network.name) for network in networks),
        ),
        rejected=[reject for one in drawn for reject in one.rejected],
        metrics=metrics,
        skipped=skipped,
        generated=pictures,
        against=against,
        reference=reference,
        networks=networks,
    )


def _check_numbers(
    settings: MeasuringConfig, metrics: Sequence[str], drawn: Sequence[ComparedPictures]
) -> None:
    """Refuse too few pictures before they are read. Errors: DataError, ConfigError."""
    for field, one in zip(("input", "against"), drawn, strict=False):
        number = len(one.rows)
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


def _folders(drawn: Sequence[ComparedPictures], reference: Reference) -> set[str]:
    """The sets whose pictures are files of a folder."""
    origins = {**{one.rows[SET][0].as_py(): one.source for one in drawn}, TEST: reference.origin}
    return {name for name, origin in origins.items() if origin.digest is None}


def _facts(
    drawn: Sequence[ComparedPictures], reference: Reference, settings: MeasuringConfig
) -> Facts:
    return Facts(
        reference.making.shape,
        num_classes=len(reference.classes),
        reference_is_labelled=reference.is_labelled,
        classes_are_asked=not any(one.rows[LABEL].null_count for one in drawn),
        prompts_are_known=not any(one.rows[PROMPT].null_count for one in drawn),
        networks=frozenset(
            name for name in NETWORKS if getattr(settings.networks, name) is not None
        ),
        has_training_split=reference.has_training_split,
        lpips_net=None if settings.networks.lpips is None else settings.networks.lpips.net,
        has_pairs=all(has_pairs(one.rows) for one in drawn),
        kept_columns=reference.kept_columns,
    )
