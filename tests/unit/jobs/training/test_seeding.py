"""Seeds are stable and keep their purposes apart."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.ranks import CONFIG, Module, Scenario

from darkroom.config import build_config
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.training.seeding import DATA_ORDER, TRAINING_STEP, derive_seed, generator

FIRST = 8597659618385908031
ORDER = [1, 2, 5, 4, 3, 0]

seeds = st.integers(0, 2**32 - 1)
coordinates = st.lists(st.integers(0, 2**31), min_size=1, max_size=3)


def test_derived_seeds_never_change() -> None:
    """A change here would break every checkpoint's promise of an identical resume."""
    assert derive_seed(7, TRAINING_STEP, 100, 1) == derive_seed(7, TRAINING_STEP, 100, 1)
    assert derive_seed(0, TRAINING_STEP, 0, 0) == FIRST
    assert generator(0, DATA_ORDER, 0).permutation(6).tolist() == ORDER


@given(seeds, coordinates)
def test_purposes_and_coordinates_differ(seed: int, at: list[int]) -> None:
    assert derive_seed(seed, TRAINING_STEP, *at) != derive_seed(seed, DATA_ORDER, *at)
    assert derive_seed(seed, DATA_ORDER, *at) != derive_seed(seed, DATA_ORDER, at[0] + 1, *at[1:])
    assert 0 <= derive_seed(seed, DATA_ORDER, *at) < 2**63


def test_dropout_falls_as_by_torchs_own_seed() -> None:
    module = Module(build_config(TrainConfig, CONFIG), Scenario(), 0)
    module.seed_dropout(3, 4)
    drawn = torch.rand(5)
    torch.manual_seed(derive_seed(module.training_config.seed, TRAINING_STEP, 3, 4))
    assert torch.equal(drawn, torch.rand(5))
