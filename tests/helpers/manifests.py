"""Picking one object out of rendered manifests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]


def one(objects: Sequence[Object], kind: str) -> Object:
    """The only one of its kind."""
    (found,) = (item for item in objects if item["kind"] == kind)
    return found
