"""The loss as named terms: each a value for every row, and the sum of all times their weights.

A row's value does not depend on the rows beside it. Min-SNR weights (`objective`) are of the terms
that measure the prediction, mse and huber; terms of the estimate of x0 (perceptual, adversarial)
weigh by the share of the picture in the network's input, since under much noise no estimate can be
like the picture.

Legend: B rows, C h w of latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.jobs.finetune.adversary import Adversary
from darkroom.jobs.finetune.custom_loss import CustomLoss
from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.finetune.loss_config import HuberConfig, LossesConfig
from darkroom.jobs.finetune.perceptual import PerceptualLoss
from darkroom.jobs.training.training_stream import Batch
from darkroom.models.families.base import BaseModel

Term = Callable[[Estimate, Batch], Tensor]
"""(estimate, the rows that it is of) -> each row's value, (B,) float32."""

DISCRIMINATOR = "discriminator"
"""The name that the discriminator's own loss is logged under."""
PRIOR = "prior_preservation"


def mse(estimate: Estimate, _: Batch) -> Tensor:
    """The mean squared error of the prediction."""
    error = estimate.prediction.float() - estimate.target.float()
    return estimate.weighted(error.square().flatten(1).mean(dim=1))


class Huber:
    """The pseudo-Huber error of the prediction, as diffusers' training scripts have it.

    2 c (sqrt(e^2 + c^2) - c): about e^2 where e is small, and 2 c |e| where it is large.
    Source: Khrapov et al. 2024, "Improving diffusion models' data-corruption resistance using
    scheduled pseudo-Huber loss".
    """

    def __init__(self, config: HuberConfig) -> None:
        self._config = config

    def __call__(self, estimate: Estimate, _: Batch) -> Tensor:
        error = estimate.prediction.float() - estimate.target.float()
        c = self.delta(estimate).reshape(-1, *[1] * (error.ndim - 1))
        # As 2 c (sqrt - c), without the difference of two near numbers.
        values = 2 * c * error.square() / (torch.sqrt(error.square() + c.square()) + c)
        return estimate.weighted(values.flatten(1).mean(dim=1))

    def delta(self, estimate: Estimate) -> Tensor:
        """(B,): c at each row's noise level."""
        delta = self._config.delta
        match self._config.schedule:
            case "constant":
                return torch.full_like(estimate.level, delta)
            case "exponential":
                return torch.pow(delta, estimate.level)
            case "snr":
                # 1 / (1 + noise / signal)^2, also where there is no signal.
                share = estimate.signal / (estimate.signal + estimate.noise)
                return (1 - delta) * share.square() + delta


class Losses:
    """All terms of one run.

    Holds the networks that terms need (features, discriminator). They are no part of the module:
    what is frozen is in no checkpoint, and the discriminator is in none of its averages.
    """

    def __init__(
        self,
        config: LossesConfig,
        *,
        base: BaseModel,
        features: nn.Module | None = None,
    ) -> None:
        """base: its VAE decodes for the perceptual term, features: whose network this is."""
        self._weights = config.weights
        self._terms: dict[str, Term] = {}
        self.adversary: Adversary | None = None
        self._perceptual: PerceptualLoss | None = None
        if config.mse is not None:
            self._terms["mse"] = mse
        if config.huber is not None:
            self._terms["huber"] = Huber(config.huber)
        if config.perceptual is not None:
            if features is None:
                raise ValueError("a perceptual term needs its network")
            self._perceptual = PerceptualLoss(features, base.vae)
            self._terms["perceptual"] = self._perceptual
        if config.custom is not None:
            self._terms["custom"] = CustomLoss(config.custom.function)
        if config.adversarial is not None:
            self.adversary = Adversary(config.adversarial, base.vae_config["latent_channels"])

    @property
    def names(self) -> list[str]:
        """What `training` returns values of."""
        return [*self._weights, *([] if self.adversary is None else [DISCRIMINATOR])]

    def to(self, device: torch.device) -> None:
        """Move the networks there."""
        if self._perceptual is not None:
            self._perceptual.to(device)
        if self.adversary is not None:
            self.adversary.to(device)

    def validation(self, estimate: Estimate, batch: Batch) -> Tensor:
        """(B,): the sum without the discriminator, which is another at each validation."""
        return self.total(self._values(estimate, batch))

    def training(self, estimate: Estimate, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum (B,), and the value (B,) of each term before its weight.

        The sum's gradient holds the discriminator's own as well; its value does not.
        """
        values = self._values(estimate, batch)
        if self.adversary is None:
            return self.total(values), values
        with _full_precision(estimate):
            values["adversarial"] = self.adversary.deceived(estimate)
            own = self.adversary.mistaken(estimate)
        return self.total(values) + (own - own.detach()), {**values, DISCRIMINATOR: own}

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The sum of terms, each times its weight."""
        # One by one from the first, so that a single term of weight 1 keeps its bits.
        weighted = [self._weights[name] * value for name, value in values.items()]
        total = weighted[0]
        for value in weighted[1:]:
            total = total + value
        return total

    def _values(self, estimate: Estimate, batch: Batch) -> dict[str, Tensor]:
        with _full_precision(estimate):
            return {name: term(estimate, batch) for name, term in self._terms.items()}


def _full_precision(estimate: Estimate) -> AbstractContextManager[Any]:
    """Whatever the network's precision: losses are sums over many small numbers."""
    return torch.autocast(estimate.x0.device.type, enabled=False)


def with_prior(
    total: Tensor, values: Mapping[str, Tensor], *, weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of B rows and of the B prior rows behind them, as a loss of B rows.

    total, values: of all 2 B rows. Returns the sum (B,), and each term of the B rows, with the
    prior rows' sum as a term of its own.
    """
    own, prior = total.chunk(2)
    split = {name: value.chunk(2)[0] for name, value in values.items()}
    return own + weight * prior, {**split, PRIOR: prior}
