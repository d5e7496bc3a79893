"""What one pass of the network says of noised latents, as all terms of the loss see it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """Legend: B rows, C h w of latents. x_t = signal x0 + noise eps."""

    x0: Tensor
    """The clean latents, (B, C, h, w)."""
    prediction: Tensor
    """What the network gave: epsilon, v, x0 or a velocity, (B, C, h, w) float32."""
    target: Tensor
    """What it should have given, (B, C, h, w)."""
    x0_hat: Tensor
    """The clean latents that the prediction implies, (B, C, h, w)."""
    timesteps: Tensor
    """As the network counts them, (B,)."""
    level: Tensor
    """How far along the schedule, (B,) in [0, 1], 1 being the most noise."""
    signal: Tensor
    """(B,)."""
    noise: Tensor
    """(B,)."""
    weight: Tensor | None = None
    """Of errors of the prediction at this noise level, (B,); None where all weigh the same."""

    def weighted(self, errors: Tensor) -> Tensor:
        """Errors of the prediction (B,), each times its noise level's weight."""
        return errors if self.weight is None else errors * self.weight

    @property
    def picture_share(self) -> Tensor:
        """The share of the picture in the power of x_t, (B,); under a schedule of betas it is
        alpha-bar."""
        return self.signal.square() / (self.signal.square() + self.noise.square())
