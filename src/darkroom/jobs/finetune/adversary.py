"""The adversarial term: a small network that tells estimates of x0 from x0, in latents.

Hinge losses (Lim & Ye 2017). One backward pass serves both sides: the estimates' loss goes
through a discriminator whose weights are held, the discriminator's own through estimates that are.
Both sides step at once, each with its own optimizer. It has no batch statistics, so a row's value
is its own.

Legend: B rows, C h w of latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.jobs.finetune.estimate import Estimate
from darkroom.jobs.finetune.loss_config import AdversarialConfig

_GROUPS = 8
_SLOPE = 0.2
_MAX_CHANNELS = 512


def discriminator(channels: int, *, width: int, num_layers: int) -> nn.Module:
    """(B, C, h, w) -> (B, 1, h', w'): one verdict for each patch (Isola et al. 2017)."""
    layers: list[nn.Module] = []
    for number in range(num_layers):
        out = min(width * 2**number, _MAX_CHANNELS)
        layers.append(nn.Conv2d(channels, out, 3, stride=2, padding=1))
        if number:
            layers.append(nn.GroupNorm(_GROUPS, out))
        layers.append(nn.LeakyReLU(_SLOPE))
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1))


class Adversary:
    """The discriminator and its optimizer."""

    def __init__(self, config: AdversarialConfig, channels: int) -> None:
        """channels: of the latents. Weights are drawn from torch's generator."""
        self._config = config
        self.network = discriminator(channels, width=config.width, num_layers=config.num_layers)
        self._optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.network.parameters(), lr=self._config.learning_rate, betas=self._config.betas
        )

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What it learns."""
        return list(self.network.parameters())

    def to(self, device: torch.device) -> None:
        """Move it there, what its optimizer remembers too."""
        state = self._optimizer.state_dict()
        self.network.to(device)
        self._optimizer = self._new_optimizer()
        self._optimizer.load_state_dict(state)

    def deceived(self, estimate: Estimate) -> Tensor:
        """The network's side, (B,): low where its estimates pass for x0."""
        held = {name: each.detach() for name, each in self.network.named_parameters()}
        verdict: Tensor = torch.func.functional_call(self.network, held, (estimate.x0_hat.float(),))
        return -_rows(verdict) * estimate.picture_share

    def mistaken(self, estimate: Estimate) -> Tensor:
        """The discriminator's side, (B,): low where it tells the two apart."""
        real = functional.relu(1 - self.network(estimate.x0.detach().float()))
        false = functional.relu(1 + self.network(estimate.x0_hat.detach().float()))
        return (_rows(real) + _rows(false)) * estimate.picture_share

    def step(self, max_grad_norm: float | None) -> None:
        """One step of its optimizer, by the gradients that are there."""
        limit = float("inf") if max_grad_norm is None else max_grad_norm
        torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it. One of another size (`init_from`) is left, and this one begins anew."""
        own = self.network.state_dict()
        if {name: each.shape for name, each in own.items()} == {
            name: each.shape for name, each in state["network"].items()
        }:
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            for group in self._optimizer.param_groups:
                group["lr"], group["betas"] = self._config.learning_rate, self._config.betas


def _rows(verdict: Tensor) -> Tensor:
    """Verdicts on patches (B, 1, h, w) as one for each row, (B,)."""
    return verdict.float().flatten(1).mean(dim=1)
