"""What may be tried for one field of a run: a range of numbers, or some values.

Imports neither ray nor optuna. Whether a field is there, and takes such values, `space.py` asks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from darkroom.config import Config, PositiveInt


def _as_tuple(value: object) -> object:
    """A space is taken apart before it is checked, and what was JSON then is Python."""
    return tuple(value) if isinstance(value, list) else value


Values = Annotated[tuple[Any, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class Axis(Config):
    """What every kind of axis has."""

    when: dict[str, Values] | None = None
    """Other fields, dotted, with the values for which this one is tried; where another has none of
    them, this field keeps the run's value. null tries it always."""

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is tried beside these values of the other fields."""
        return all(values.get(name) in options for name, options in (self.when or {}).items())


class FloatAxis(Axis):
    """A range of real numbers."""

    kind: Literal["float"] = "float"
    """A range of real numbers."""
    low: Annotated[float, Field(allow_inf_nan=False)]
    """The least value."""
    high: Annotated[float, Field(allow_inf_nan=False)]
    """The greatest value."""
    log: bool = False
    """Even in the logarithm: for learning rates."""
    points: PositiveInt | None = None
    """grid: so many values from low to high, both included."""

    def grid(self) -> list[Any]:
        """Its values on a grid."""
        count = self.points or 1
        if count == 1:
            return [self.low]
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        inner = [low + (high - low) * number / (count - 1) for number in range(1, count - 1)]
        # The ends as they were written, and no rounding of their logarithms.
        return [self.low, *(math.exp(x) if self.log else x for x in inner), self.high]

    def num_grid(self) -> int:
        """How many values its grid has."""
        return self.points or 1

    def ends(self) -> list[Any]:
        """Values that must be allowed, for all others to be."""
        return [self.low, self.high]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        return self


class IntAxis(Axis):
    """A range of whole numbers."""

    kind: Literal["int"] = "int"
    """A range of whole numbers."""
    low: int
    """The least value."""
    high: int
    """The greatest value."""
    step: PositiveInt = 1
    """Between two values; 1 where `log` is set."""
    log: bool = False
    """Even in the logarithm."""

    def grid(self) -> list[Any]:
        """Its values on a grid."""
        return list(range(self.low, self.high + 1, self.step))

    def num_grid(self) -> int:
        """How many values its grid has, were there ever so many."""
        return (self.high - self.low) // self.step + 1

    def ends(self) -> list[Any]:
        """Values that must be allowed, for all others to be."""
        return [self.low, self.low + (self.num_grid() - 1) * self.step]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        if self.log and self.step > 1:
            raise ValueError(f"step {self.step} does not go with log; leave one of them out")
        return self


class ChoiceAxis(Axis):
    """Some values: words, numbers, lists, null."""

    kind: Literal["choice"] = "choice"
    """Some values."""
    values: Values
    """The values, in no order."""

    def grid(self) -> list[Any]:
        """Its values on a grid."""
        return list(self.values)

    def num_grid(self) -> int:
        """How many values its grid has."""
        return len(self.values)

    def ends(self) -> list[Any]:
        """Values that must be allowed."""
        return list(self.values)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        texts = [json.dumps(value, sort_keys=True) for value in self.values]
        for text in texts:
            if texts.count(text) > 1:
                raise ValueError(f"value {text} stands there twice; leave one out")
        return self


AnyAxis = Annotated[FloatAxis | IntAxis | ChoiceAxis, Field(discriminator="kind")]
KINDS = ("float", "int", "choice")


def _check_range(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        raise ValueError(f"low {low} is not below high {high}, so the range is empty; swap them")
    if log and low <= 0:
        raise ValueError(f"low {low} has no logarithm; raise it above 0, or leave log out")
