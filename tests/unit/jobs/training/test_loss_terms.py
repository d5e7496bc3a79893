"""Which term of the loss became NaN first, and what the end says of it."""

from __future__ import annotations

import math

import pytest
import torch

from darkroom.jobs.training.endings import _bad, _remedy
from darkroom.jobs.training.loss_terms import FirstBad, NonFinite, TermMeans

CPU = torch.device("cpu")


def note(watch: NonFinite, step: int, grad_norm: float = 1.0, **terms: float) -> None:
    sums = {name: torch.tensor(value, dtype=torch.float64) for name, value in terms.items()}
    watch.note(step, grad_norm=torch.tensor(grad_norm), terms=sums)


def test_the_first_bad_term_is_named_whatever_follows() -> None:
    watch = NonFinite(CPU)
    note(watch, 1, mse=1.0, custom=2.0)
    assert watch.first() is None
    note(watch, 2, mse=1.0, custom=math.inf)
    note(watch, 3, grad_norm=math.nan, mse=math.nan, custom=math.nan)
    assert watch.first() == FirstBad(2, ("custom",))


def test_a_gradient_alone_has_no_term() -> None:
    watch = NonFinite(CPU)
    note(watch, 1)
    note(watch, 2, grad_norm=math.inf)
    assert watch.first() == FirstBad(2, ())


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ((), "the loss or its gradient"),
        (("custom",), "the loss term custom"),
        (("mse", "huber"), "the loss terms mse and huber"),
    ],
)
def test_the_end_names_terms(terms: tuple[str, ...], says: str) -> None:
    assert _bad(terms) == says
    assert ("under losses" in _remedy(terms)) is bool(terms)


def test_means_are_over_rows_and_begin_anew() -> None:
    means = TermMeans()
    for value in (2.0, 4.0):
        means.take({"mse": torch.tensor(value, dtype=torch.float64)})
    assert means.means(3) == {"loss/mse": 2.0}
    assert means.means(3) == {}
