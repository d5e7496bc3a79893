"""Whether a space fits the config of the verb that is tuned, and the points of its grid.

A field is looked up in the verb's schema, and the ends of each range are tried on the run: what
the verb would refuse for that field alone is refused here, before anything is written. What only a
combination of values makes wrong fails as that trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from darkroom.config import Config, build_config, closest
from darkroom.errors import ConfigError, InputError
from darkroom.fields import types_at
from darkroom.jobs.tune.axes import AnyAxis, ChoiceAxis, FloatAxis
from darkroom.jobs.tune.settings import at, leaves, replaced

FIXED = {
    "input": "every trial of a study has the same data",
    "output": "each trial has its own",
    "on_existing": "a trial always goes on",
    "seed": "another seed is no better config; `confirm` tries further ones",
}
"""Fields that no study tries, and why."""
MAX_GRID = 100_000
"""Combinations of a grid: as many runs, were they ever so short, are none that anyone waits for."""


def check_space(
    space: Mapping[str, AnyAxis],
    config_type: type[Config],
    *,
    run: Mapping[str, Any],
    places: Mapping[str, Any],
) -> None:
    """Refuse what the verb does not have or take. Errors: ConfigError naming the axis."""
    for name, axis in space.items():
        _check_field(f"space.{name}", name, config_type, {**run, **places})
        if name in FIXED:
            raise ConfigError(f"space.{name}", None, FIXED[name], "leave it out of the space")
        for other in axis.when or {}:
            where = f"space.{name}.when.{other}"
            _check_field(where, other, config_type, {**run, **places})
            if other == name:
                raise ConfigError(where, None, "is the field itself", "name another one")
    for name in in_order(space):
        _check_ends(name, space[name], config_type, run=run, places=places)


def _check_field(
    where: str, name: str, config_type: type[Config], values: Mapping[str, Any]
) -> None:
    types = types_at(config_type, name.split("."))
    if types and types != {"object"}:
        return
    if types:
        raise ConfigError(where, None, "is a section", "name one of its fields")
    known = [field for field, _ in leaves(build_config(config_type, values).to_dict())]
    guess = closest(name, known) or next(
        (field for field in known if field.endswith(f".{name.rsplit('.', 1)[-1]}")), None
    )
    remedy = f"did you mean {guess!r}?" if guess else "`--show-config` names its fields"
    raise ConfigError(where, None, "no such field in a run", remedy)


def _check_ends(
    name: str,
    axis: AnyAxis,
    config_type: type[Config],
    *,
    run: Mapping[str, Any],
    places: Mapping[str, Any],
) -> None:
    values = dict(run)
    for other, options in (axis.when or {}).items():
        values = replaced(values, other, options[0])
    for end in axis.ends():
        try:
            build_config(config_type, {**replaced(values, name, end), **places})
        except InputError as error:
            if error.field == name or error.field.startswith(f"{name}."):
                raise ConfigError(
                    f"space.{name}", end, f"a run does not take it: {error.problem}", error.remedy
                ) from None


def in_order(space: Mapping[str, AnyAxis]) -> list[str]:
    """The axes by name, each after those that it depends on. Errors: ConfigError for a circle."""
    left, ordered = sorted(space), list[str]()
    while left:
        ready = next((name for name in left if not (space[name].when or {}).keys() & {*left}), None)
        if ready is None:
            raise ConfigError(
                f"space.{left[0]}.when", None, f"depends on itself by way of {', '.join(left)}",
                "break the circle",
            )  # fmt: skip
        left.remove(ready)
        ordered.append(ready)
    return ordered


def decoded(values: Mapping[str, Any], name: str, run: Mapping[str, Any]) -> Any:
    """What a condition looks at: a tried value, else the run's own."""
    return values[name] if name in values else at(run, name)


def is_active(axis: AnyAxis, tried: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether an axis is tried beside what was chosen for those before it."""
    return axis.is_active({other: decoded(tried, other, run) for other in axis.when or {}})


def grid_points(space: Mapping[str, AnyAxis], run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination once; an axis that is not active multiplies nothing.

    run: the complete run, for conditions on fields that are not tried.
    Errors: ConfigError for a range without a number of points, and for far too many combinations.
    """
    names = in_order(space)
    for name in names:
        axis = space[name]
        if isinstance(axis, FloatAxis) and axis.points is None:
            raise ConfigError(
                f"space.{name}.points", None, "is required by a grid", "say how many values"
            )
    number = math.prod(space[name].num_grid() for name in names)
    if number > MAX_GRID:
        raise ConfigError(
            "search.kind", "grid", f"makes {number:,} combinations, and {MAX_GRID:,} are the most",
            "give fewer values, or take bayes",
        )  # fmt: skip
    points: dict[str, dict[str, Any]] = {}
    for values in product(*(space[name].grid() for name in names)):
        point: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            if is_active(space[name], point, run):
                point[name] = value
        points.setdefault(repr(point), point)
    return list(points.values())


def has_choices_only(space: Mapping[str, AnyAxis]) -> bool:
    """Whether every axis is a list of values."""
    return all(isinstance(axis, ChoiceAxis) for axis in space.values())
