"""The figures at the end of a run."""

from __future__ import annotations

from darkroom.jobs.batch.figures import BatchFigures, utilization


def test_the_bottleneck_is_the_stage_with_the_least_rest() -> None:
    shares = utilization({"decode": 20.0, "model": 9.0}, {"decode": 4, "model": 1}, 10.0)
    assert shares == {"decode": 0.5, "model": 0.9}
    figures = BatchFigures(100, 40, 2, 12.0, {"decode": 20.0, "model": 9.0}, shares)
    assert figures.bottleneck == "model"
    assert figures.rows_per_second == 5.0
    assert figures.line("pictures") == (
        "60 pictures (40 had been done before) in 12.0 s: 5.00 pictures/s, bottleneck model "
        "(busy: decode 50%, model 90%)"
    )


def test_nothing_left_to_do_has_no_bottleneck() -> None:
    figures = BatchFigures(10, 10, 0, 0.1, {"model": 0.0}, {"model": 0.0})
    assert figures.bottleneck is None
    assert figures.line("rows") == "10 rows: nothing was left to do"
