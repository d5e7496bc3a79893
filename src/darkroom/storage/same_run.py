"""Whether a stored run is the run that is asked for now: same config digest, same parents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from darkroom.errors import OutputExistsError
from darkroom.storage.manifest import Parent
from darkroom.storage.uri import Uri

if TYPE_CHECKING:
    from darkroom.config import JobConfig

_ABSENT = object()


class StoredRun(Protocol):
    """What a manifest and a run's pointer both keep of the run that wrote them."""

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def config_digest(self) -> str: ...

    @property
    def parents(self) -> tuple[Parent, ...]: ...


def refuse_other_run(
    uri: Uri, stored: StoredRun, config: JobConfig, parents: Sequence[Parent]
) -> None:
    """Raise OutputExistsError, naming what differs, unless `stored` is this very run."""
    remedy = "use the same values, another output, or --overwrite"
    if stored.config_digest != config.digest:
        # Of fields that a stored run need not have, only when nothing else differs.
        values = (config.digest_values(with_added=added) for added in (False, True))
        wanted = (json.loads(json.dumps(each)) for each in values)
        differences = (first_difference(stored.config, each) for each in wanted)
        difference = next((found for found in differences if found is not None), None)
        if difference is None:
            raise OutputExistsError(
                "output", str(uri), "was written under another version of this config", remedy
            )
        field, old, new = difference
        raise OutputExistsError(
            field, new, f"the output {uri} was begun with {_shown(old)}", remedy
        )
    old_parents, new_parents = _digests(stored.parents), _digests(parents)
    for role in sorted(old_parents.keys() | new_parents.keys()):
        if old_parents.get(role) != new_parents.get(role):
            raise OutputExistsError(
                f"parents.{role}",
                new_parents.get(role),
                f"the output {uri} was begun from other input ({old_parents.get(role)})",
                remedy,
            )


def same_run(stored: StoredRun, config: JobConfig, parents: Sequence[Parent]) -> bool:
    """Whether `stored` was written under this config and from these parents."""
    same_config = stored.config_digest == config.digest
    return same_config and _digests(stored.parents) == _digests(parents)


def first_difference(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> tuple[str, Any, Any] | None:
    """The first field of `new` that `old` has otherwise: its dotted name and both values."""
    for name, value in new.items():
        before = old.get(name, _ABSENT)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found = first_difference(before, value, f"{prefix}{name}.")
            if found is not None:
                return found
        elif before != value:
            return prefix + name, before, value
    return None


def _shown(value: object) -> str:
    return "no such field" if value is _ABSENT else repr(value)


def _digests(parents: Sequence[Parent]) -> dict[str, list[str]]:
    digests: dict[str, list[str]] = {}
    for parent in parents:
        if parent.role == "checkpoint":
            continue  # made on the way: what a run was begun from does not name it
        digests.setdefault(parent.role, []).append(parent.digest)
    return {role: sorted(found) for role, found in digests.items()}
