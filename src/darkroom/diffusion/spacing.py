"""Which timesteps a sampler visits. Needs no torch, so a driver can ask without it."""

from __future__ import annotations

from typing import Protocol

from darkroom.diffusion.config import DEFAULT_SPACING, Spacing
from darkroom.errors import ConfigError


class Timesteps(Protocol):
    """A noise schedule, or the config of one."""

    @property
    def num_timesteps(self) -> int: ...
    @property
    def zero_terminal_snr(self) -> bool: ...


def timesteps(schedule: Timesteps, num_steps: int, spacing: Spacing = DEFAULT_SPACING) -> list[int]:
    """The timesteps to visit, high to low. Source: Lin et al. 2023, table 2.

    trailing: T-1, T-1 - T/num_steps, ...: starts where the network expects pure noise.
    leading: ..., 2r, r, 0 with r = T // num_steps: ends at the least noisy step, but hands pure
    noise to a network that expects a trace of an image; refused under zero terminal SNR.
    Errors: ConfigError, also for num_steps outside 1 .. T.
    """
    num_timesteps = schedule.num_timesteps
    if not 1 <= num_steps <= num_timesteps:
        raise ConfigError("num_steps", num_steps, f"must be between 1 and {num_timesteps}")
    if spacing == "trailing":
        return [round(num_timesteps * (num_steps - i) / num_steps) - 1 for i in range(num_steps)]
    if schedule.zero_terminal_snr:
        raise ConfigError(
            "spacing", spacing, "skips the last timestep of a zero-terminal-SNR schedule",
            "use trailing",
        )  # fmt: skip
    stride = num_timesteps // num_steps
    return [i * stride for i in reversed(range(num_steps))]
