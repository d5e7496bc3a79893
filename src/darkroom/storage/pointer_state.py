"""What a run's pointer says, and how it may change: values and pure functions.

Reading and swapping `latest.json` is left to `pointer.py`. Each function here returns the state
after one legal step; nothing else makes states.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from darkroom.errors import DataError, IntegrityError
from darkroom.storage.manifest import (
    CHECKPOINTS_PREFIX,
    Parent,
    check_seal,
    decode_json,
    parse_parents,
    sealed_json,
    typed,
    unknown_version,
    utc_now,
)
from darkroom.storage.names import check_name
from darkroom.storage.same_run import refuse_other_run, same_run
from darkroom.storage.uri import Uri

if TYPE_CHECKING:
    from darkroom.config import JobConfig

VERSION = 1


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint that the pointer names; `checkpoint` is relative to the run's output."""

    step: int
    checkpoint: str
    digest: str


@dataclass(frozen=True, slots=True)
class BestCheckpoint:
    """The checkpoint with the best validation metric so far."""

    step: int
    metric: float
    checkpoint: str


@dataclass(frozen=True, slots=True)
class PointerState:
    """What `latest.json` says. Before the first checkpoint `checkpoint` is None and step 0."""

    owner: str
    generation: int
    config: dict[str, Any]
    config_digest: str
    parents: tuple[Parent, ...]
    step: int = 0
    checkpoint: str | None = None
    digest: str | None = None
    best: BestCheckpoint | None = None
    kept: tuple[KeptCheckpoint, ...] = ()
    retired: tuple[str, ...] = ()
    supersedes: str | None = None
    """Digest of the published manifest that this run is to replace (--overwrite)."""
    updated_at: str = field(default_factory=utc_now)
    version: int = VERSION

    def to_json(self) -> bytes:
        """The bytes of `latest.json`."""
        return sealed_json(json.loads(json.dumps(asdict(self), allow_nan=False)))

    def named(self) -> set[str]:
        """Every checkpoint that this state names, and so protects."""
        named = {item.checkpoint for item in self.kept} | set(self.retired)
        if self.checkpoint is not None:
            named.add(self.checkpoint)
        if self.best is not None:
            named.add(self.best.checkpoint)
        return named


def parse_pointer(data: bytes, *, uri: str) -> PointerState:
    """Read the bytes of `latest.json`. Errors: IntegrityError, DataError for another version."""
    values = decode_json(data, uri=uri, what="run pointer")
    if values.get("version") != VERSION:
        raise unknown_version(uri, values.get("version"), VERSION)
    check_seal(values, uri=uri)
    try:
        known = {item.name: values[item.name] for item in fields(PointerState)}
        known["parents"] = parse_parents(values["parents"])
        known["kept"] = tuple(typed(KeptCheckpoint, item) for item in values["kept"])
        known["retired"] = tuple(values["retired"])
        known["best"] = as_best(values["best"])
        state = typed(PointerState, known)
        named = state.named()
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{uri} is no run pointer of ours ({error})") from None
    # What it no longer keeps is deleted: nothing else than checkpoints may be.
    for name in named:
        if not check_name(name, where=uri).startswith(CHECKPOINTS_PREFIX):
            raise DataError(uri, name, "is no checkpoint of this run", "start again elsewhere")
    return state


def claimed(
    output: Uri,
    current: PointerState | None,
    fresh: PointerState,
    config: JobConfig,
    parents: Sequence[Parent],
) -> PointerState:
    """The state after `fresh.owner` has taken over from `current`."""
    if current is None:
        return fresh
    generation = current.generation + 1
    if config.on_existing == "overwrite":
        # A rerun of the same overwrite goes on; one after it has published begins anew.
        if not same_run(current, config, parents) or current.supersedes != fresh.supersedes:
            # The published model still names one of the old checkpoints: they are left to gc.
            return replace(fresh, generation=generation)
    else:
        refuse_other_run(output, current, config, parents)
    return replace(current, owner=fresh.owner, generation=generation, updated_at=utc_now())


def advanced(
    state: PointerState, new: KeptCheckpoint, best: BestCheckpoint | None, keep: set[str] | None
) -> PointerState:
    best = best or state.best
    named = {new.checkpoint} | ({best.checkpoint} if best else set())
    everything = (*state.kept, new)
    if keep is not None:
        everything = tuple(item for item in everything if item.checkpoint in keep | named)
    dropped = {item.checkpoint for item in state.kept} - {item.checkpoint for item in everything}
    return replace(
        state,
        step=new.step,
        checkpoint=new.checkpoint,
        digest=new.digest,
        best=best,
        kept=everything,
        retired=tuple(sorted({*state.retired, *dropped})),
        updated_at=utc_now(),
    )


def fallen_back(state: PointerState, to: KeptCheckpoint, damaged: Collection[str]) -> PointerState:
    """The state after the `damaged` newest checkpoints have been given up for `to`."""
    best = state.best
    return replace(
        state,
        step=to.step,
        checkpoint=to.checkpoint,
        digest=to.digest,
        best=None if best is not None and best.checkpoint in damaged else best,
        # Not retired: what is left of a damaged checkpoint stays to be looked at, until gc.
        kept=tuple(item for item in state.kept if item.checkpoint not in damaged),
        updated_at=utc_now(),
    )


def as_best(best: BestCheckpoint | Mapping[str, Any] | None) -> BestCheckpoint | None:
    return BestCheckpoint(**best) if isinstance(best, Mapping) else best
