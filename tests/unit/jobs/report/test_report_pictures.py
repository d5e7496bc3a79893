"""What the page shows of the forward process is the schedule's own doing."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.diffusion import ScheduleConfig, build_schedule
from darkroom.jobs.report.pictures import forward_levels, forward_strip, noised, side_by_side
from darkroom.jobs.report.sections import duration, moment

SCHEDULE = build_schedule(ScheduleConfig(num_timesteps=100))
PICTURE = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def test_levels_go_from_the_picture_to_the_last_timestep() -> None:
    assert forward_levels(1000)[0] is None
    assert forward_levels(1000)[-1] == 999
    assert len(forward_levels(1000)) == 9
    assert forward_levels(3) == [None, 0, 1, 2]


def test_more_noise_leaves_less_of_the_picture() -> None:
    frames = noised(PICTURE, SCHEDULE, [None, 5, 50, 99], seed=1)
    assert np.array_equal(frames[0], PICTURE)
    likeness = [np.corrcoef(PICTURE.ravel(), frame.ravel())[0, 1] for frame in frames]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[1] > 0.9
    assert abs(likeness[-1]) < 0.4


def test_colour_pictures_are_noised_in_every_channel() -> None:
    colour = np.stack([PICTURE, PICTURE.T, 255 - PICTURE], axis=-1)
    (frame,) = noised(colour, SCHEDULE, [99], seed=1)
    assert frame.shape == (8, 8, 3)
    assert not np.array_equal(frame[..., 0], frame[..., 1])


def test_the_strip_shows_a_few_classes_that_have_pictures() -> None:
    real = {"a": [PICTURE], "b": [], "c": [PICTURE, PICTURE], "d": [PICTURE], "e": [PICTURE]}
    strip = forward_strip(real, SCHEDULE, seed=0)
    assert [name for name, _ in strip.rows] == ["a", "c", "d"]
    assert strip.columns[0] == "picture"
    assert all(len(pictures) == len(strip.columns) for _, pictures in strip.rows)


def test_sides_without_pictures_get_no_column() -> None:
    assert side_by_side({"a": [PICTURE]}, {}).columns == ["real (training data)"]
    both = side_by_side({"a": [PICTURE]}, {"a": [PICTURE], "b": [PICTURE]})
    assert both.columns == ["real (training data)", "generated"]
    assert [name for name, _ in both.rows] == ["a", "b"]
    missing, there = both.rows[1][1]
    assert missing is None
    assert there is not None
    assert there.alt == "1 picture, generated, class b"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4 s"), (133, "2.2 min"), (5400, "90.0 min"), (9000, "2.5 h")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_in_utc_to_the_minute() -> None:
    assert moment("2031-05-06T09:08:07+02:00") == "2031-05-06 07:08 UTC"
