"""Objects by who owns them."""

from __future__ import annotations

from typing import Any

from testcluster.client import Kubectl


def owned(kubectl: Kubectl, kinds: str, owner_kind: str, owner: str) -> list[dict[str, Any]]:
    """Objects of these kinds that the owner, of the same namespace, takes along when it goes."""
    return [
        item
        for item in kubectl.list(kinds)
        for each in item["metadata"].get("ownerReferences", [])
        if (each["kind"], each["name"]) == (owner_kind, owner)
    ]
