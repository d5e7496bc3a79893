"""Plain torch in Lightning's place, for modules that run without a trainer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from darkroom.jobs.training.module import TrainedModule


class PlainTorch(TrainedModule):
    """What a module asks of its trainer; stands before the real module among the bases."""

    adamw: Any = None
    rate: Any = None

    def set_up_optimizer(self) -> None:
        """Once its parameters are what they stay."""
        built: Any = self.configure_optimizers()
        self.adamw, self.rate = built["optimizer"], built["lr_scheduler"]["scheduler"]
        self.adamw.optimizer = self.adamw  # as Lightning wraps it

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:  # noqa: ARG002
        return self.adamw

    def lr_schedulers(self) -> Any:
        return self.rate

    def manual_backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
