"""Noise belongs to the image, not to its batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkroom.diffusion import ImageNoise, image_seed

SHAPE = (1, 4, 4)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6), st.integers(0, 1000))
def test_a_row_depends_on_its_own_seed_and_step_only(seeds: list[int], step: int) -> None:
    together = ImageNoise(seeds, SHAPE)
    for row, seed in enumerate(seeds):
        alone = ImageNoise([seed], SHAPE)
        assert torch.equal(together.initial()[row], alone.initial()[0])
        assert torch.equal(together(step)[row], alone(step)[0])


def test_every_draw_differs_and_can_be_repeated() -> None:
    noise = ImageNoise([7], SHAPE)
    draws = [noise.initial(), *(noise(step) for step in range(20))]
    flat = {tuple(draw.flatten().tolist()) for draw in draws}
    assert len(flat) == len(draws)
    assert torch.equal(noise(3), noise(3))


def test_seeds_that_share_their_low_32_bits_differ() -> None:
    a, b = ImageNoise([1, 1 + 2**32], SHAPE).initial()
    assert not torch.equal(a, b)


def test_noise_is_standard_normal() -> None:
    seeds = [image_seed(0, index) for index in range(500)]
    draws = ImageNoise(seeds, (8, 8))(0).double().numpy()
    n = draws.size
    assert abs(draws.mean()) < 6 / np.sqrt(n)
    assert abs(draws.std() - 1) < 6 / np.sqrt(2 * n)
    # Rows of different seeds are uncorrelated.
    correlation = np.corrcoef(draws.reshape(500, -1))
    assert abs(correlation[~np.eye(500, dtype=bool)]).max() < 0.8


def test_image_seeds_differ_by_run_and_index() -> None:
    seeds = {image_seed(seed, index) for seed in range(20) for index in range(1000)}
    assert len(seeds) == 20_000
    assert max(seeds) >= 2**63
    assert image_seed(3, 14) == image_seed(3, 14)
