"""Trajectories step by step: pictures at different steps, of different samplers, in one call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from darkroom.diffusion import SAMPLERS, ImageNoise
from darkroom.diffusion.config import SamplerName
from darkroom.diffusion.schedule import cosine_schedule
from darkroom.diffusion.steps import Trajectory
from darkroom.errors import ConfigError

SCHEDULE = cosine_schedule(100)
SHAPE = (1, 4, 4)
PLANS: list[tuple[SamplerName, int]] = [
    ("ddim", 7), ("ddpm", 12), ("dpm-solver++", 5), ("ddim", 3), ("dpm-solver++", 9),
]  # fmt: skip


def denoiser(x: Tensor, t: Tensor) -> Tensor:
    phase = t.to(x).reshape(-1, 1, 1, 1) / 100
    return 0.8 * torch.tanh(x) + 0.3 * torch.sin(3 * x + phase)


def trajectory(sampler: SamplerName, num_steps: int, seed: int) -> Trajectory:
    noise = ImageNoise([seed], SHAPE)
    return Trajectory(
        sampler, noise.initial(), SCHEDULE, num_steps=num_steps, prediction_type="epsilon",
        noise=noise,
    )  # fmt: skip


def test_pictures_that_join_and_leave_are_bit_for_bit_those_drawn_alone() -> None:
    under_way: list[Trajectory] = []
    all_of_them, waiting, calls = [], list(enumerate(PLANS)), 0
    while waiting or under_way:
        if waiting:  # one joins before each step
            seed, plan = waiting.pop(0)
            all_of_them.append(trajectory(*plan, seed))
            under_way.append(all_of_them[-1])
        x = torch.cat([each.x for each in under_way])
        t = torch.cat([each.t for each in under_way])
        assert t.dtype == torch.int64
        for each, output in zip(under_way, denoiser(x, t), strict=True):
            each.advance(output[None])
        under_way = [each for each in under_way if not each.done]
        calls += 1
    assert calls < sum(num_steps for _, num_steps in PLANS) / 2
    for seed, ((sampler, num_steps), joined) in enumerate(zip(PLANS, all_of_them, strict=True)):
        noise = ImageNoise([seed], SHAPE)
        alone = SAMPLERS[sampler](
            denoiser, noise.initial(), SCHEDULE, num_steps=num_steps,
            prediction_type="epsilon", noise=noise,
        )  # fmt: skip
        assert torch.equal(joined.x, alone)


def test_a_trajectory_says_where_it_is() -> None:
    made = trajectory("ddim", 2, 0)
    assert (made.num_done, made.done, made.step.t, made.t.tolist()) == (0, False, 99, [99])
    x0 = made.advance(denoiser(made.x, made.t))
    assert x0.shape == (1, *SHAPE)
    assert (made.num_done, made.done, made.step.t) == (1, False, 49)
    made.advance(denoiser(made.x, made.t))
    assert made.done


def test_settings_are_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="num_steps"):
        trajectory("ddim", 101, 0)
    with pytest.raises(ConfigError, match=r"eta: got 0\.5, has no effect with ddpm"):
        Trajectory(
            "ddpm", torch.zeros(1, *SHAPE), SCHEDULE, num_steps=3, prediction_type="epsilon",
            noise=ImageNoise([0], SHAPE), eta=0.5,
        )  # fmt: skip
