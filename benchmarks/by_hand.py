"""A training loop as one writes it by hand, whatever is trained: plain torch around a loss.

On several ranks it has DistributedDataParallel, or what accelerate makes of it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.lr import scale_at


class LoopByHand(ABC):
    """AdamW with its schedule, clipping and average over parameters, and a log."""

    def __init__(
        self, config: TrainingConfig, network: nn.Module, trained: Sequence[nn.Parameter]
    ) -> None:
        self._training, self._trained = config, list(trained)
        self._model: Any = network  # what a loss calls
        self._backward: Any = torch.autograd.backward
        self._clip: Any = torch.nn.utils.clip_grad_norm_
        self._optimizer: Any = torch.optim.AdamW(
            self._trained,
            lr=config.optimizer.learning_rate,
            betas=config.optimizer.betas,
            eps=config.optimizer.eps,
            weight_decay=config.optimizer.weight_decay,
        )
        self._scheduler: Any = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: scale_at(step, config.lr_schedule, config.max_steps)
        )
        self._ema = EMAModel(
            self._trained,
            decay=config.ema.decay,
            use_ema_warmup=True,
            power=config.ema.warmup_power,
            foreach=True,
        )

    def distribute(self) -> None:
        """Over the ranks of torch's process group."""
        self._model = DistributedDataParallel(self._model)

    def accelerate(self, accelerator: Any) -> None:
        """Over the ranks of accelerate, which takes over whatever it can."""
        self._model, self._optimizer, self._scheduler = accelerator.prepare(
            self._model, self._optimizer, self._scheduler
        )
        self._backward, self._clip = accelerator.backward, accelerator.clip_grad_norm_

    @abstractmethod
    def _loss(self) -> Tensor:
        """Of the next batch, a scalar."""

    def run(self) -> dict[str, list[float]]:
        """Train; `seconds` and `processor_seconds` of a step in each logging interval."""
        every = self._training.log_every_steps
        clocks = {"seconds": time.perf_counter, "processor_seconds": time.process_time}
        found: dict[str, list[float]] = {name: [] for name in clocks}
        started = {name: clock() for name, clock in clocks.items()}
        loss_sum = torch.zeros(())
        for step in range(1, self._training.max_steps + 1):
            loss, grad_norm = self._step()
            loss_sum += loss
            if step % every == 0:
                log = {"step": step, "loss": float(loss_sum / every), "norm": float(grad_norm)}
                if not np.isfinite(log["loss"]):
                    raise ArithmeticError(f"the loop by hand diverged: {log}")
                for name, clock in clocks.items():
                    now = clock()
                    found[name].append((now - started[name]) / every)
                    started[name] = now
                loss_sum = torch.zeros(())
        return found

    def _step(self) -> tuple[Tensor, Tensor]:
        loss = self._loss()
        self._optimizer.zero_grad()
        self._backward(loss)
        grad_norm = self._clip(
            self._trained, self._training.optimizer.max_grad_norm or float("inf")
        )
        self._optimizer.step()
        self._scheduler.step()
        self._ema.step(self._trained)
        return loss.detach(), grad_norm
