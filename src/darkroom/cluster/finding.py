"""What a broken rule is, and how rules read manifests that anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["operator", "api", "darkroom"]
"""Who would refuse: `operator` marks the object ValidationFailed after it was accepted, `api`
refuses it at once, `darkroom` is our own policy, which others may break on purpose."""
Object = Mapping[str, Any]

CLUSTER_SELECTOR_KEY = "ray.io/cluster"


@dataclass(frozen=True)
class Finding:
    """One broken rule: its name, where, what, and who would refuse."""

    rule: str
    path: str
    problem: str
    source: Source = "operator"

    def __str__(self) -> str:
        return f"[{self.rule}] {self.path}: {self.problem}"


def mapping(value: Any) -> Object:
    """The value if it is a mapping, else an empty one: absent and null read alike."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def label(manifest: Object) -> str:
    """`RayJob/train`; a name that the server is still to choose ends in `*`."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']}/{metadata.get('name') or metadata['generateName'] + '*'}"


def integer(value: Any) -> int | None:
    """The value if it is a whole number, as Helm's `1.2096e+06` is too; a boolean is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
