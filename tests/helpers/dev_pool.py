"""The pool of the development overlay, changed in its values and by commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.helpers.git_repository import GitRepository

VALUES = "manifests/overlays/dev/values/cluster-values.yaml"


def maximum(number: int) -> Callable[[dict[str, Any]], None]:
    """A change of the values: another maxReplicas."""

    def change(values: dict[str, Any]) -> None:
        assert values["pools"]["cpu"]["maxReplicas"] != number
        values["pools"]["cpu"]["maxReplicas"] = number

    return change


def commit_maximum(repository: GitRepository, number: int) -> str:
    """Commits it; the revision."""
    repository.edit(VALUES, maximum(number))
    return repository.commit(f"{number} workers")
