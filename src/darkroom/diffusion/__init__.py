"""Pixel-space Gaussian diffusion, written to be read beside the papers.

    config.py      the typed choice of schedule and prediction type (no torch)
    schedule.py    beta_t, alpha-bar_t, SNR(t), q(x_t | x_0)
    objective.py   what the network predicts, how it is weighted, the training loss
    flow.py        straight paths: interpolation, velocity, shift of noise levels
    guidance.py    classifier-free guidance and label dropout
    pixels.py      uint8 to [-1, 1]
    noise.py       each image's own noise, whatever the batch it is drawn in
    steps.py       the reverse process, one step at a time: DDPM, DDIM and DPM-Solver++
    sampler.py     all of its steps behind one signature

Assumes images scaled to [-1, 1] and shaped (B, C, H, W), and a denoiser that maps (x_t, t_B)
to a tensor like x_t. Timesteps count 0 .. T-1, so t here is the papers' t - 1. Nothing here
reads or writes anything, knows of Ray, or holds a network; callers bring the network.

Legend: B batch, T number of timesteps, beta_t variance added at step t, alpha-bar_t the
product of (1 - beta) up to t, eps the noise, x0 the clean image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.diffusion.config import PredictionType as PredictionType
    from darkroom.diffusion.config import SamplerName as SamplerName
    from darkroom.diffusion.config import ScheduleConfig as ScheduleConfig
    from darkroom.diffusion.config import Spacing as Spacing
    from darkroom.diffusion.config import check_prediction_type as check_prediction_type
    from darkroom.diffusion.guidance import conditional as conditional
    from darkroom.diffusion.guidance import drop_labels as drop_labels
    from darkroom.diffusion.guidance import guided as guided
    from darkroom.diffusion.noise import ImageNoise as ImageNoise
    from darkroom.diffusion.objective import Denoiser as Denoiser
    from darkroom.diffusion.objective import diffusion_loss as diffusion_loss
    from darkroom.diffusion.sampler import SAMPLERS as SAMPLERS
    from darkroom.diffusion.sampler import Sampler as Sampler
    from darkroom.diffusion.schedule import NoiseSchedule as NoiseSchedule
    from darkroom.diffusion.schedule import build_schedule as build_schedule
    from darkroom.diffusion.seeds import image_seed as image_seed

_HOMES = {
    "config": (
        "PredictionType", "SamplerName", "ScheduleConfig", "Spacing", "check_prediction_type",
    ),
    "guidance": ("conditional", "drop_labels", "guided"),
    "noise": ("ImageNoise",),
    "objective": ("Denoiser", "diffusion_loss"),
    "sampler": ("SAMPLERS", "Sampler"),
    "schedule": ("NoiseSchedule", "build_schedule"),
    "seeds": ("image_seed",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import on first use: `darkroom.diffusion.config` must not load torch."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
