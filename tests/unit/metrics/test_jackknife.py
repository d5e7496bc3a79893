"""The block jackknife's interval is as wide as figures scatter."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.errors import DataError
from darkroom.metrics.frechet import frechet_distance, moments_of
from darkroom.metrics.jackknife import SelectedRows, block_jackknife, student_quantile


@pytest.mark.parametrize(
    ("probability", "degrees", "quantile"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.95, 2, 2.9200),
        (0.975, 9, 2.2622),
        (0.95, 9, 1.8331),
        (0.975, 19, 2.0930),
        (0.995, 9, 3.2498),
    ],
)
def test_student_quantiles_are_those_of_the_tables(
    probability: float, degrees: int, quantile: float
) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(quantile, abs=4e-3)


def test_the_interval_of_a_difference_of_means_covers_the_truth() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        a, b = random.normal(1, 1, (60, 1)), random.normal(0, 2, (90, 1))
        value = float(a.mean() - b.mean())
        (interval,) = block_jackknife(
            lambda x, y: [float(x[:].mean() - y[:].mean())], (a, b), [value], seed=seed
        )
        covered += interval.low <= 1 <= interval.high
    assert 180 <= covered <= 199, "95 of 100 within four standard errors"


def test_the_interval_of_a_frechet_distance_is_as_wide_as_it_scatters() -> None:
    random = np.random.default_rng(1)
    values, widths = [], []
    for seed in range(60):
        a, b = random.normal(0.5, 1, (200, 4)), random.normal(0, 1, (300, 4))
        value = frechet_distance(moments_of(a), moments_of(b))
        (interval,) = block_jackknife(
            lambda x, y: [frechet_distance(moments_of(x), moments_of(y))], (a, b), [value],
            seed=seed,
        )  # fmt: skip
        values.append(value)
        widths.append((interval.high - interval.low) / 2 / student_quantile(0.975, 9))
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.3)


def test_rows_that_belong_together_are_left_out_together() -> None:
    """What two sets share row by row does not widen the interval of their difference."""
    random = np.random.default_rng(2)
    shared = random.normal(0, 5, (100, 1))
    a, b = shared + random.normal(0, 0.1, (100, 1)), shared + random.normal(0, 0.1, (100, 1))

    def width(alike: tuple[int, int] | None) -> float:
        (found,) = block_jackknife(
            lambda x, y: [float(x[:].mean() - y[:].mean())], (a, b), [0.0], alike=alike
        )
        return found.high - found.low

    assert width((0, 0)) < 0.1 < width((0, 1)) == width(None)


def test_selected_rows_are_taken_when_asked_for() -> None:
    rows = np.arange(20.0).reshape(10, 2)
    some = SelectedRows(rows, np.array([9, 1, 4]))
    assert some.shape == (3, 2)
    assert np.array_equal(some[1:], rows[[1, 4]])


def test_fewer_rows_than_blocks_are_left_out_one_by_one() -> None:
    """The jackknife of a mean is its textbook interval, whatever the number of rows."""
    rows = np.array([[1.0], [2.0], [4.0], [7.0], [11.0]])
    (found,) = block_jackknife(lambda a: [float(a[:].mean())], (rows,), [float(rows.mean())])
    reach = 2.776 * rows.std(ddof=1) / np.sqrt(5)  # of Student's t with 4 degrees
    assert abs(found.high - rows.mean() - reach) < 0.02 * reach


def test_too_few_rows_are_named() -> None:
    with pytest.raises(DataError, match="needs at least 3"):
        block_jackknife(lambda _: [0.0], (np.zeros((2, 2)),), [0.0])
