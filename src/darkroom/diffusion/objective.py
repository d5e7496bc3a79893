"""What the network predicts, and the training loss.

With a = sqrt(alpha-bar_t) and s = sqrt(1 - alpha-bar_t), so that x_t = a x0 + s eps and
a^2 + s^2 = 1, a network may predict

    epsilon        eps                              Ho et al. 2020, eq. 14
    v_prediction   v = a eps - s x0                 Salimans & Ho 2022, section 4
    sample         x0

Each gives x0 back. Assumes the schedule's timesteps. Leaves drawing t and eps to the caller, so
that every random number of a training step can derive from (seed, step, rank).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from darkroom.diffusion.config import PredictionType
from darkroom.diffusion.schedule import NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, ...), t (B,) int64) -> what the network predicts, shaped like x_t."""


def target(
    schedule: NoiseSchedule, x0: Tensor, t: Tensor, noise: Tensor, prediction_type: PredictionType
) -> Tensor:
    """What the network should output at x_t = q_sample(x0, t, noise). Shaped like x0."""
    match prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return x0
        case "v_prediction":
            a = schedule.coefficients(schedule.sqrt_alphas_cumprod, t, x0)
            s = schedule.coefficients(schedule.sqrt_one_minus_alphas_cumprod, t, x0)
            return a * noise - s * x0


def predict_x0(
    schedule: NoiseSchedule, output: Tensor, x_t: Tensor, t: Tensor, prediction_type: PredictionType
) -> Tensor:
    """The clean image that `output` implies at x_t. Shaped like x_t.

    Under epsilon it is infinite where alpha-bar_t is 0 (see `check_prediction_type`).
    """
    a = schedule.coefficients(schedule.sqrt_alphas_cumprod, t, x_t)
    s = schedule.coefficients(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    match prediction_type:
        case "epsilon":
            return (x_t - s * output) / a
        case "sample":
            return output
        case "v_prediction":
            return a * x_t - s * output


def min_snr_weight(snr: Tensor, gamma: float, prediction_type: PredictionType) -> Tensor:
    """The weight of each sample's squared error; elementwise on `snr`, finite at SNR 0.

    min(SNR, gamma) on the error of x0, restated for what the network predicts. Under v it is
    0 at SNR 0: a zero-terminal-SNR schedule's last step is then taught by its neighbours only.
    Source: Hang et al. 2023, section 3.4 (gamma = 5 there).
    """
    match prediction_type:
        case "epsilon":
            return (gamma / snr).clamp(max=1.0)
        case "sample":
            return snr.clamp(max=gamma)
        case "v_prediction":
            return snr.clamp(max=gamma) / (snr + 1.0)


def diffusion_loss(
    output: Tensor,
    *,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: NoiseSchedule,
    prediction_type: PredictionType,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Each sample's loss, (B,) float32: the mean squared error of the network's `output`.

    `output` is the prediction at x_t = schedule.q_sample(x0, t, noise); x0, noise and output
    are (B, ...), t is (B,). Without `min_snr_gamma` every timestep weighs the same.
    Source: Ho et al. 2020, Algorithm 1.
    """
    error = output.float() - target(schedule, x0, t, noise, prediction_type).float()
    loss = error.square().flatten(1).mean(dim=1)
    if min_snr_gamma is None:
        return loss
    snr = schedule.coefficients(schedule.snr, t, loss)
    return loss * min_snr_weight(snr, min_snr_gamma, prediction_type)
