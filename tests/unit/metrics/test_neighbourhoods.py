"""Precision, recall, density and coverage against their definitions, pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.errors import DataError
from darkroom.metrics import features
from darkroom.metrics.distances import squared_distances
from darkroom.metrics.neighbourhoods import neighbourhoods

Rows = NDArray[np.float64]


def sets(shift: float = 0.4, *, seed: int = 0) -> tuple[Rows, Rows]:
    random = np.random.default_rng(seed)
    return random.normal(shift, 1.0, (70, 6)), random.normal(0.0, 1.0, (90, 6))


def by_definition(generated: Rows, real: Rows, k: int) -> tuple[float, float, float, float]:
    """As Naeem et al. write it, with a ball that holds its surface."""

    def distances(a: Rows, b: Rows) -> Rows:
        found: Rows = np.linalg.norm(a[:, None] - b[None], axis=2)
        return found

    radius_real = np.sort(distances(real, real), axis=1)[:, k]
    radius_generated = np.sort(distances(generated, generated), axis=1)[:, k]
    across = distances(generated, real)
    inside = across <= radius_real
    return (
        float(inside.any(axis=1).mean()),
        float((across <= radius_generated[:, None]).any(axis=0).mean()),
        float(inside.sum(axis=1).mean() / k),
        float(inside.any(axis=0).mean()),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_four_figures_are_those_of_the_papers(k: int) -> None:
    generated, real = sets()
    found = neighbourhoods(generated, real, num_neighbours=k)
    expected = by_definition(generated, real, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(
        expected, abs=1e-12
    )
    assert 0.1 < found.precision < 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generated, real = sets()
    whole = neighbourhoods(generated, real, num_neighbours=3)
    monkeypatch.setattr(features, "BLOCK_ROWS", 7)
    assert neighbourhoods(generated, real, num_neighbours=3) == whole


def test_a_set_lies_in_its_own_neighbourhoods() -> None:
    real = sets()[1]
    found = neighbourhoods(real, real, num_neighbours=3)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_far_sets_share_nothing_and_a_collapsed_one_has_no_recall() -> None:
    generated, real = sets(shift=50.0)
    found = neighbourhoods(generated, real, num_neighbours=3)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)
    one = np.repeat(real[:1], 70, axis=0)
    collapsed = neighbourhoods(one, real, num_neighbours=3)
    assert collapsed.precision == 1
    assert collapsed.recall <= 1 / len(real)
    assert collapsed.coverage < 0.2


def test_a_ball_holds_its_surface() -> None:
    real: Any = np.array([[0.0], [1.0], [10.0]])
    found = neighbourhoods(np.array([[2.0], [30.0]]), real, num_neighbours=1)
    assert found.precision == 0.5, "2 is as far from 1 as 0 is"


def test_equal_rows_are_at_zero() -> None:
    rows = np.random.default_rng(0).normal(100, 1, (50, 300))
    assert not np.diag(squared_distances(rows, rows.copy(), equal=1e-12)).any()


def test_too_few_rows_are_named() -> None:
    with pytest.raises(DataError, match="neighbourhoods of 3 need more than that"):
        neighbourhoods(np.zeros((3, 2)), np.zeros((9, 2)), num_neighbours=3)
