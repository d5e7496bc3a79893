"""What a gate asks of a figure: `kid_inception<0.01`, or `kid_inception<against` of two sets.

Imports neither ray nor torch.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from darkroom.jobs.measuring.names import metric_name

_FORM = re.compile(r"\s*([A-Za-z]\w*)\s*(<=|>=|<|>)\s*(\S+)\s*")
RELATIVE = "against"
"""Stands for the figure of the second set: kid_inception<against, class_accuracy>against-0.01."""
_RELATIVE_FORM = re.compile(rf"{RELATIVE}([+-].+)?")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """A figure, and the bound that its whole interval must keep."""

    metric: str
    comparison: str
    bound: float
    is_relative: bool = False
    """The bound is one of the difference to the second set's figure."""

    def __str__(self) -> str:
        bound = f"{self.bound:g}"
        if self.is_relative:
            bound = RELATIVE + (f"{self.bound:+g}" if self.bound else "")
        return f"{self.metric}{self.comparison}{bound}"

    @property
    def wants_less(self) -> bool:
        """The bad end of an interval is then the upper one."""
        return self.comparison.startswith("<")

    def allows(self, value: float) -> bool:
        """Whether a number keeps the bound; NaN never does."""
        return _COMPARE[self.comparison](value, self.bound)


def parse_requirement(text: str) -> Requirement:
    """Errors: ValueError with the remedy."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("is no requirement; write one as kid_inception<0.01 or clip_score>28")
    name, comparison, text = match.groups()
    relative = _RELATIVE_FORM.fullmatch(text)
    try:
        bound = float(text if relative is None else relative[1] or 0)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise ValueError(f"compares with {text!r}, which is no number")
    return Requirement(metric_name(name), comparison, bound, is_relative=relative is not None)


def _spelt(text: str) -> str:
    return str(parse_requirement(text))


RequirementText = Annotated[str, AfterValidator(_spelt)]
"""A requirement as the config keeps it."""
