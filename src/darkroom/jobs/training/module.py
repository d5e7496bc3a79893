"""The base of every trained LightningModule: what is trained, its optimizer, its average.

A subclass builds its networks and brings the loss; it names what is trained as groups of
parameters, each with a rate of its own. Everything else is frozen, and is in no checkpoint. When
steps happen, what is logged and where checkpoints go is `callback.py`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from diffusers.training_utils import EMAModel
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from darkroom.jobs.training import optimizer_memory
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.draws import RowDraws
from darkroom.jobs.training.gradients import num_ranks
from darkroom.jobs.training.loss_scale import LossScale
from darkroom.jobs.training.lr import PlateauTracker, scale_at
from darkroom.jobs.training.micro_batches import MicroBatches
from darkroom.jobs.training.optimizers import build_optimizer, for_this_device, moments_bytes
from darkroom.jobs.training.picture_log import DrawnPicture
from darkroom.jobs.training.precision import autocast
from darkroom.jobs.training.seeding import TRAINING_STEP, derive_seed
from darkroom.jobs.training.sharding import Sharding, own_share, whole, wrapped
from darkroom.jobs.training.training_stream import Batch, num_rows


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a peak learning rate; the config's schedule scales it."""

    name: str
    parameters: Sequence[nn.Parameter]
    learning_rate: float


class TrainedModule(pl.LightningModule):
    """Trains some of its parameters under a config's schedule, and averages them."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.training_config = config
        self.plateau = PlateauTracker(config.lr_schedule.factor, config.lr_schedule.patience)
        # Read by the callback; stays on the device so that no step waits for it.
        self.grad_norm = torch.zeros(())
        self.automatic_optimization = False  # `micro_batches.py` does what Lightning would.
        self.micro_batches = MicroBatches(config.micro_batch_size, batch_size=config.batch_size)
        self.loss_scale = LossScale.for_precision(config.compute.precision)
        self.term_sums: dict[str, Tensor] = {}
        """Sums over this rank's rows of the step, of each term of the loss that has a name."""

    @abstractmethod
    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """What is trained. Called once, when everything is built."""

    @abstractmethod
    def training_losses(self, batch: Batch) -> Tensor:
        """Per-row losses (B,) of a batch; the room takes their mean over the whole step.

        What is random about a row comes from `draws`. torch is seeded for what is random inside
        the network, dropout: that is the micro-batch's and no row's.
        """

    @abstractmethod
    def validation_losses(self, batch: Batch, first_index: int) -> Tensor:
        """Per-row losses (B,) of a batch whose first row has this index in the split.

        What is random is a function of the index.
        """

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """What gets gradients and is none of the groups': `on_step_taken` steps it."""
        return ()

    def on_step_taken(self) -> None:
        """After the optimizer's step, with the gradients still there."""

    def term_names(self) -> Sequence[str]:
        """Terms of the loss that `note_terms` is told of, the same on all ranks."""
        return ()

    def begin_terms(self) -> None:
        """Nothing is known of this step's terms; a rank may have no row in it."""
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        self.term_sums = dict.fromkeys(self.term_names(), zero)

    def note_terms(self, values: Mapping[str, Tensor]) -> None:
        """Take each named term of a micro-batch's losses, (B,), into the log."""
        for name, value in values.items():
            self.term_sums[name] = self.term_sums[name] + value.detach().double().sum()

    def with_gradients(self) -> list[nn.Parameter]:
        """All that a step leaves gradients of."""
        return [*self.trained.values(), *self.own_parameters()]

    def draws_pictures_at(self, step: int, *, last: bool) -> bool:
        """Whether pictures are drawn after this step; 0 is before the first."""
        return False

    def draw_pictures(self) -> Sequence[DrawnPicture]:
        """Pictures by the weights that are in place: rank 0 calls it, with the averaged ones; every
        rank where networks are shared out, for the same pictures."""
        return ()

    def draws(self, batch: Batch) -> RowDraws:
        """What is random about the rows of a training batch."""
        return RowDraws(self.training_config.seed, batch["row"], batch["epoch"])

    def sharded_networks(self) -> Mapping[nn.Module, Sequence[str]]:
        """Networks that FSDP2 may share out, each with the classes of its repeated blocks."""
        return {}

    def prepare(self, sharding: Sharding | None = None) -> None:
        """Freeze what no group names, share the networks out, start the average at the weights."""
        groups = self.parameter_groups()
        names = {id(each): name for name, each in self.named_parameters()}
        named = [[names[id(each)] for each in group.parameters] for group in groups]
        wanted = {name for some in named for name in some}
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in wanted)
        self.sharding = sharding
        if sharding is not None:
            sharding.share_out(self.sharded_networks())
        now = dict(self.named_parameters())  # others, where they are shares
        self.groups = [
            replace(group, parameters=[now[name] for name in some])
            for group, some in zip(groups, named, strict=True)
        ]
        self.trained: Mapping[str, nn.Parameter] = {
            name: each for name, each in now.items() if name in wanted
        }
        self.begin_terms()
        self.ema = EMAModel(
            self._shares(),
            decay=self.training_config.ema.decay,
            use_ema_warmup=True,
            power=self.training_config.ema.warmup_power,
            foreach=True,
        )

    def on_fit_start(self) -> None:
        """Move the average, which is no module, to the device of the parameters.

        All ranks begin with rank 0's numbers, should another kind of processor make others.
        """
        self.ema.to(self.device)
        if num_ranks() > 1 and self.sharding is None:
            for tensor in (*self.with_gradients(), *self.ema.shadow_params):
                dist.broadcast(tensor.detach(), src=0)

    def _shares(self) -> list[Tensor]:
        """What this rank holds of the trained parameters: all of each, or its share."""
        return [own_share(each) for each in self.trained.values()]

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Nothing yet: a micro-batch is moved when it is due."""
        return batch

    def on_device(self, batch: Batch) -> Batch:
        """A batch on the device of the parameters."""
        moved: Batch = super().transfer_batch_to_device(batch, self.device, 0)
        return moved

    def seed_dropout(self, step: int, first: int) -> None:
        """Seed torch for a micro-batch by its step and where its first row stands in the batch."""
        seed = derive_seed(self.training_config.seed, TRAINING_STEP, step, first)
        # torch.manual_seed would seed every kind of device, and note the whole stack for each that
        # is not in use.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor | int]:
        """One optimizer step; the sum of this rank's losses, and of how many rows.

        Errors: MicroBatchTooLargeError when memory ends where the others wait for this rank.
        """
        try:
            return self._step(batch)
        except torch.OutOfMemoryError:
            raise self.micro_batches.too_large(batch["step"]) from None

    def probe_memory(self, largest: Callable[[int], Batch | None]) -> None:
        """Find the micro-batch that fits, before a step needs it; nothing else changes.

        largest: rows for two passes of so many that take as much memory as any.
        Errors: as `training_step`.
        """
        tried = 0
        while tried != self.micro_batches.size:  # of fewer rows, others may take the most
            tried = self.micro_batches.size
            batch = largest(tried)
            if batch is not None:
                self._probe(batch)

    def _probe(self, batch: Batch) -> None:
        try:
            with autocast(self.training_config.compute.precision, self.device):
                self.micro_batches.probe(self, batch, spare_bytes=self._spare_bytes())
        except torch.OutOfMemoryError:
            raise self.micro_batches.too_large(batch["step"]) from None

    def _step(self, batch: Batch) -> dict[str, Tensor | int]:
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        loss_sum = self.micro_batches.gradients(self, batch, spare_bytes=self._spare_bytes())
        fits = self.loss_scale.unscale(self.with_gradients())
        limit = self.training_config.optimizer.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(
            self.trained.values(), float("inf") if limit is None else limit
        )
        self.grad_norm = whole(norm)
        optimizer.step()
        if fits:
            self.on_step_taken()
        schedule.step()
        return {"loss_sum": loss_sum, "num_rows": num_rows(batch)}

    def _spare_bytes(self) -> int:
        """What the optimizer will take from a GPU's memory, in its first step."""
        optimizer: Any = self.optimizers()
        if optimizer.optimizer.state or self.device.type != "cuda":
            return 0
        return moments_bytes(self.training_config.optimizer, self._shares())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer with the configured schedule, stepped per optimizer step."""
        lr_schedule = self.training_config.lr_schedule
        max_steps = self.training_config.max_steps
        optimizer = build_optimizer(self.training_config.optimizer, self.groups)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: self.plateau.scale * scale_at(step, lr_schedule, max_steps),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1},
        }

    def update_ema(self) -> None:
        """Take the weights after an optimizer step into the average."""
        self.ema.step(self._shares())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the trained ones, without dropout."""
        parameters = self._shares()
        modes = [(module, module.training) for module in self.modules()]
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            self.ema.restore(parameters)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen; add the average and the plateau's memory."""
        for name in self.frozen_names():
            del checkpoint["state_dict"][name]
        averages = self.ema.state_dict()
        averages["shadow_params"] = [
            wrapped(each, parameter)
            for each, parameter in zip(
                averages["shadow_params"], self.trained.values(), strict=True
            )
        ]
        checkpoint["ema"] = {"names": list(self.trained), **averages}
        (optimizer,) = checkpoint["optimizer_states"]
        checkpoint[optimizer_memory.KEY] = optimizer_memory.remembered(self._stepped(), optimizer)
        checkpoint["plateau"] = vars(self.plateau).copy()
        checkpoint["micro_batches"] = self.micro_batches.state()
        checkpoint["loss_scale"] = self.loss_scale.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them; the weights and the optimizer are Lightning's, which wants all weights."""
        built = self.state_dict()
        checkpoint["state_dict"].update({name: built[name] for name in self.frozen_names()})
        optimizer_memory.require_remembered(self._stepped(), checkpoint)
        for state in checkpoint.get("optimizer_states", ()):
            # Lightning moves the module after this: its device tells nothing yet.
            for_this_device(state, on_gpu=self.training_config.workers.use_gpu)
        if self.sharding is not None:
            self.sharding.place(checkpoint, self)
        averages = [own_share(each) for each in checkpoint["ema"]["shadow_params"]]
        self.ema.load_state_dict({**checkpoint["ema"], "shadow_params": averages})
        self.plateau = PlateauTracker(**checkpoint["plateau"])
        self.micro_batches.restore(checkpoint["micro_batches"])
        if "loss_scale" in checkpoint:
            self.loss_scale = LossScale(**checkpoint["loss_scale"])

    def _stepped(self) -> list[str]:
        """Names of the optimizer's parameters, in its order."""
        names = {id(each): name for name, each in self.trained.items()}
        return [names[id(each)] for group in self.groups for each in group.parameters]

    def frozen_names(self) -> list[str]:
        """What is not trained, and in no checkpoint."""
        named = self.named_parameters(remove_duplicate=False)
        return [name for name, parameter in named if not parameter.requires_grad]
