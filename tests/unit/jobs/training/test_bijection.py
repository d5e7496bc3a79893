"""A computed shuffle is a permutation, and no worse a shuffle than one that is drawn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom.jobs.training.bijection import NUM_ROUNDS, Bijection
from darkroom.jobs.training.seeding import COMPUTED_ORDER, words


def order(size: int, *coordinates: int) -> NDArray[np.int64]:
    bijection = Bijection(size, words(NUM_ROUNDS, 0, COMPUTED_ORDER, *coordinates))
    return bijection.at(np.arange(size))


@given(st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_every_number_has_one_place(size: int, epoch: int) -> None:
    assert sorted(order(size, epoch).tolist()) == list(range(size))


@given(st.integers(1, 10**12), st.integers(0, 2**32 - 1), st.data())
def test_a_place_needs_no_other_place(size: int, epoch: int, data: st.DataObject) -> None:
    bijection = Bijection(size, words(NUM_ROUNDS, 0, COMPUTED_ORDER, epoch))
    places = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
    together = bijection.at(np.array(places))
    alone = [int(bijection.at(np.array([place]))[0]) for place in places]
    assert together.tolist() == alone
    assert together.min() >= 0
    assert together.max() < size


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_few_numbers_come_in_every_order(size: int) -> None:
    """Each of the orders of a handful about as often as the others: chi-squared."""
    num_orders, draws_each = math.factorial(size), 60
    counts = Counter(tuple(order(size, epoch).tolist()) for epoch in range(draws_each * num_orders))
    assert len(counts) == num_orders
    chi_squared = sum((count - draws_each) ** 2 for count in counts.values()) / draws_each
    freedom = num_orders - 1
    assert chi_squared < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [1000, 1024, 1025, 30_000])
def test_it_shuffles_as_well_as_a_drawn_permutation(size: int) -> None:
    """Per cell of (where from, where to) chi-squared, and steps between neighbours."""
    num_epochs, cells = 200, 10
    found = np.zeros((cells, cells))
    steps = []
    for epoch in range(num_epochs):
        numbers = order(size, epoch)
        places = np.arange(size) * cells // size
        np.add.at(found, (places, numbers * cells // size), 1)
        steps.append(np.mean(np.abs(np.diff(numbers))) / size)
    expected = found.sum() / cells**2
    chi_squared = float(np.sum((found - expected) ** 2) / expected)
    # (cells - 1)^2 = 81 degrees of freedom: mean 81, standard deviation 12.7.
    assert chi_squared < 81 + 5 * 12.7
    # Two numbers drawn at random are a third of the range apart.
    assert np.mean(steps) == pytest.approx(1 / 3, abs=0.01)


def test_epochs_have_nothing_in_common() -> None:
    """As many numbers keep their place from one epoch to the next as chance leaves there: one."""
    kept = [int(np.sum(order(1000, epoch) == order(1000, epoch + 1))) for epoch in range(400)]
    assert np.mean(kept) == pytest.approx(1, abs=0.25)
