"""The checked inner join: details are added to subjects, and whoever has no partner is named.

Keys are texts, compared as they are. A subject with several details becomes several rows, in the
order of the details; nothing is dropped without a line in the dead letters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.errors import DataError
from darkroom.jobs.generate.config import JoinConfig
from darkroom.jobs.rejects import Reject
from darkroom.jobs.tables.row import Row, set_aside
from darkroom.jobs.tables.table import TextTable, unknown_column

_SHOWN = 3


@dataclass(frozen=True)
class Joined:
    """The rows that have both, and who had no partner."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    places: Sequence[str]
    unmatched: Sequence[Reject]


def inner_join(subjects: TextTable, details: TextTable, config: JoinConfig) -> Joined:
    """Rows of both tables whose `on` columns are equal, in the order of the subjects.

    Errors: DataError for a key column that is missing, another column in both tables, no match
    at all, or (with `unmatched: refuse`) any row without a partner.
    """
    _check_columns(subjects, details, config.on)
    partners: dict[tuple[str | None, ...], list[Row]] = defaultdict(list)
    for row in details.rows:
        partners[_key(row, config.on)].append(row)
    rows: list[Row] = []
    places: list[str] = []
    unmatched: list[Reject] = []
    met: set[tuple[str | None, ...]] = set()
    for row, place in zip(subjects.rows, subjects.places, strict=True):
        key = _key(row, config.on)
        found = partners.get(key, ()) if None not in key else ()
        if not found:
            unmatched.append(_unmatched(place, f"no details for {_named(key, config.on)}"))
        met.add(key)
        rows.extend({**row, **detail} for detail in found)
        places.extend([place] * len(found))
    for row, place in zip(details.rows, details.places, strict=True):
        key = _key(row, config.on)
        if key not in met or None in key:
            lacks = f"no subject for {_named(key, config.on)}"
            unmatched.append(_unmatched(f"details {place}", lacks))
    _check_unmatched(rows, unmatched, config)
    added = tuple(column for column in details.columns if column not in config.on)
    return Joined((*subjects.columns, *added), rows, places, unmatched)


def _unmatched(where: str, detail: str) -> Reject:
    return set_aside(where, "unmatched", detail, stage="join")


def _key(row: Row, on: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(row[column] for column in on)


def _named(key: Sequence[str | None], on: Sequence[str]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(on, key, strict=True))


def _check_columns(subjects: TextTable, details: TextTable, on: Sequence[str]) -> None:
    for table, what in ((subjects, "input"), (details, "join.input")):
        for column in on:
            if column not in table.columns:
                problem, remedy = unknown_column(column, table.columns, table.left_out)
                raise DataError("join.on", column, f"{problem} of {what}", remedy)
    both = set(subjects.columns) & set(details.columns) - set(on)
    if both:
        column = min(both)
        raise DataError(
            "join.rename", column, "is a column of both tables",
            "rename it in one of them, or add it to join.on",
        )  # fmt: skip


def _check_unmatched(rows: Sequence[Row], unmatched: Sequence[Reject], config: JoinConfig) -> None:
    if not unmatched or (rows and config.unmatched == "report"):
        return
    shown = "; ".join(f"{bad.id}: {bad.detail}" for bad in unmatched[:_SHOWN])
    counts = Counter(bad.id.startswith("details ") for bad in unmatched)
    raise DataError(
        "join.on", ", ".join(config.on),
        f"{counts[False]} rows have no details and {counts[True]} details no row ({shown})"
        + ("" if rows else "; no row matches at all"),
        "correct the keys" + (", or set join.unmatched to report" if rows else ""),
    )  # fmt: skip
