"""Classes of which no picture can be used are no classes: a model could never learn to draw them.

Found on the driver before anything is written, since labels are numbers. Of every class pictures
are decoded until one is good, small ones first: mostly one small file per class.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.rows import decode_item, read_items
from darkroom.jobs.rejects import Reject

logger = logging.getLogger(__name__)

_READ_AT_ONCE = 64
_SHOWN = 5
"""Names of classes in a message."""


def without_empty_classes(listing: PictureListing, config: PrepareConfig) -> PictureListing:
    """The listing with its classes numbered anew; what was found dead on the way is in it."""
    members: dict[int, list[Item]] = {label: [] for label in range(len(listing.classes))}
    for item in listing.items:
        if item.label is not None:
            members[item.label].append(item)
    doubtful = {
        label: sorted(items, key=lambda item: item.size) for label, items in members.items()
    }
    smallest = [items[0] for items in doubtful.values() if items]
    for item, reject in _judged(smallest, config):
        if reject is None and item.label is not None:
            del doubtful[item.label]
    rejects = {label: _all_rejected(items, config) for label, items in doubtful.items()}
    empty = {label: found for label, found in rejects.items() if found is not None}
    if not empty:
        return listing
    for label, found in empty.items():
        if not found:
            continue
        reasons = Counter(reject.reason for reject in found)
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        name = listing.classes[label]
        logger.warning("class %s has no picture that can be used (%s): it is left out", name, told)
    # Of labels that are bytes there may be hundreds.
    if absent := [listing.classes[label] for label, found in empty.items() if not found]:
        shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
        logger.warning("%d classes have no picture (%s): they are left out", len(absent), shown)
    kept = [label for label in range(len(listing.classes)) if label not in empty]
    number: dict[int | None, int | None] = {label: at for at, label in enumerate(kept)}
    number[None] = None
    return replace(
        listing,
        items=[replace(i, label=number[i.label]) for i in listing.items if i.label in number],
        classes=[listing.classes[label] for label in kept],
        rejects=[*listing.rejects, *(one for found in empty.values() for one in found)],
    )


def _all_rejected(items: Sequence[Item], config: PrepareConfig) -> list[Reject] | None:
    """Why no item can be used; None as soon as one can."""
    rejects = []
    for _, reject in _judged(items, config):
        if reject is None:
            return None
        rejects.append(reject)
    return rejects


def _judged(items: Sequence[Item], config: PrepareConfig) -> Iterator[tuple[Item, Reject | None]]:
    """Each item with why it cannot be used, if so."""
    for start in range(0, len(items), _READ_AT_ONCE):
        batch = items[start : start + _READ_AT_ONCE]
        for item, data in zip(batch, read_items(batch, config), strict=True):
            picture = decode_item(item, data, config)
            if isinstance(picture, Reject):
                yield item, picture
            else:
                yield item, None
