"""What happens after each optimizer step, in one place and one order.

EMA, metrics, validation, the ranks' barrier, the checkpoint, the end. Every branch that
talks to other ranks is taken by all ranks at the same step.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, cast

import lightning.pytorch as pl
import psutil
import torch
import torch.distributed as dist

from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.training.barrier import StepBarrier
from darkroom.jobs.training.block_histograms import histograms
from darkroom.jobs.training.block_norms import block_norms
from darkroom.jobs.training.checkpoint import CheckpointPublisher
from darkroom.jobs.training.checkpoint_shares import SharesWriter
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.endings import Ending, Outcome
from darkroom.jobs.training.gradients import num_ranks
from darkroom.jobs.training.heartbeat import Heartbeat
from darkroom.jobs.training.loss_terms import NonFinite, TermMeans
from darkroom.jobs.training.lr import ImprovementTracker
from darkroom.jobs.training.memory_events import described
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.optimizers import effective_rate
from darkroom.jobs.training.sharding import whole
from darkroom.jobs.training.training_stream import TrainingStream
from darkroom.jobs.training.validation import Validation


class RunCallback(pl.Callback):
    """Drives a run from Lightning's hooks."""

    def __init__(
        self,
        config: TrainingConfig,
        *,
        stream: TrainingStream,
        validation: Validation | None,
        log: MetricsLog,
        publisher: CheckpointPublisher | None,
        heartbeat: Heartbeat,
        seconds_before: float,
    ) -> None:
        self.outcome = Outcome()
        self._config = config
        self._stream = stream
        self._validation = validation
        self._log = log
        self._publisher = publisher
        self._heartbeat = heartbeat
        self._seconds_before = seconds_before
        self._improvement = ImprovementTracker(config.validation.min_delta)
        self._validated_step = -1

    # Lightning stores this in the checkpoint.
    def state_dict(self) -> dict[str, Any]:
        """Early stopping's memory."""
        return {"improvement": asdict(self._improvement)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._improvement = ImprovementTracker(**state_dict["improvement"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seek the stream; Lightning has restored the step by now."""
        module, step = cast("TrainedModule", pl_module), trainer.global_step
        self._stream.first_step = step
        device = module.device
        self._barrier = StepBarrier(self._heartbeat, device, self._config.checkpoint.every_minutes)
        self._barrier.start(step)
        self._non_finite = NonFinite(device)
        self._terms = TermMeans()
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._num_rows = 0
        self._saved_step = step
        self._num_told = len(module.micro_batches.events)
        self._started = time.monotonic()
        self._waited_before = 0.0
        self._heartbeat.begin_at(step)
        self._highest_step = self._heartbeat.highest_step()
        module.probe_memory(self._stream.largest_batch)
        self._tell_of_memory(module)
        if step == 0:
            self._show_beginning(trainer, module)
        self._logged_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tell the goodput account whether this step was done before."""
        done_before = trainer.global_step < self._highest_step
        self._heartbeat.stopwatch.switch("redone" if done_before else "useful")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the step's loss; do all the rest."""
        module = cast("TrainedModule", pl_module)
        self._loss_sum += outputs["loss_sum"]
        self._num_rows += outputs["num_rows"]
        self._terms.take(module.term_sums)
        step = self._heartbeat.step = trainer.global_step
        self._tell_of_memory(module)
        module.update_ema()
        self._non_finite.note(step, grad_norm=module.grad_norm, terms=module.term_sums)
        last = step >= self._config.max_steps
        if last or step % self._config.log_every_steps == 0:
            self._log_metrics(trainer, module, step)
        every = self._config.histograms_every_steps
        if every is not None and (last or step % every == 0):
            self._take_histograms(module, step)
        if self._validation and (last or step % self._config.validation.every_steps == 0):
            self._validate(trainer, module, self._validation, step)
        self._draw(trainer, module, step, last=last)
        ended = None if self._publisher is None else self._publisher.ended
        decision = self._barrier.at(step, ended=ended)
        if decision.ended:
            self._end(trainer, decision.ended)
            return
        if decision.stop and not trainer.should_stop:
            self._end(trainer, "interrupted")
        every = self._config.checkpoint.every_steps
        by_steps = every is not None and step % every == 0
        if last or by_steps or decision.checkpoint or trainer.should_stop:
            self._checkpoint(trainer, step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how it ended."""
        self.outcome.step = trainer.global_step
        self._heartbeat.stopwatch.switch("startup")

    def _tell_of_memory(self, module: TrainedModule) -> None:
        events = module.micro_batches.events
        for event in events[self._num_told :] if self._publisher is not None else ():
            self._heartbeat.warn(described(event))
        self._num_told = len(events)

    def _stop_if_non_finite(self, trainer: pl.Trainer) -> bool:
        bad = self._non_finite.first()
        if bad is not None:
            self.outcome.first_bad_step, self.outcome.bad_terms = bad.step, bad.terms
            self._end(trainer, "non_finite")
        return bad is not None

    def _end(self, trainer: pl.Trainer, ending: Ending) -> None:
        self.outcome.ending = ending
        trainer.should_stop = True

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _epoch(self, step: int) -> int:
        return self._stream.epoch_at(step)

    def _log_metrics(self, trainer: pl.Trainer, module: TrainedModule, step: int) -> None:
        if self._stop_if_non_finite(trainer):
            return
        now = time.monotonic()
        interval = now - self._logged_at
        waited = self._stream.wait_seconds - self._waited_before
        loss, num_rows = _mean_over_ranks(self._loss_sum, self._num_rows)
        self._log_row(
            trainer,
            step,
            loss=loss,
            **self._terms.means(self._num_rows),
            **_learning_rates(trainer),
            grad_norm=float(module.grad_norm),
            param_norm=_norm(module),
            **block_norms(
                module.trained,
                grad_norm=module.grad_norm,
                max_grad_norm=self._config.optimizer.max_grad_norm,
            ),
            images_per_second=num_rows / interval,
            data_wait_share=waited / interval,
            memory_bytes=_memory_bytes(module.device),
            micro_batch_size=module.micro_batches.size,
            **module.loss_scale.columns(),
        )
        self._loss_sum.zero_()
        self._num_rows = 0
        self._logged_at = now
        self._waited_before = self._stream.wait_seconds

    def _take_histograms(self, module: TrainedModule, step: int) -> None:
        limit = self._config.optimizer.max_grad_norm
        norm = module.grad_norm
        taken = histograms(step, module.trained, grad_norm=norm, max_grad_norm=limit)
        self._log.spread.add(step, taken)

    def _log_row(self, trainer: pl.Trainer, step: int, **values: float) -> None:
        row = self._log.add(step, epoch=self._epoch(step), seconds=self._seconds(), **values)
        if trainer.is_global_zero:
            self._heartbeat.post_metrics(dict(row))

    def _show_beginning(self, trainer: pl.Trainer, module: TrainedModule) -> None:
        """What later losses and pictures are compared with; it decides nothing."""
        if self._validation:
            self._validation_loss(trainer, module, self._validation, 0)
        self._draw(trainer, module, 0, last=False)

    def _validation_loss(
        self, trainer: pl.Trainer, module: TrainedModule, validation: Validation, step: int
    ) -> float:
        with self._heartbeat.stopwatch.measuring("validation"):
            loss = validation.loss(module)
        self._log_row(trainer, step, validation_loss=loss)
        return loss

    def _validate(
        self, trainer: pl.Trainer, module: TrainedModule, validation: Validation, step: int
    ) -> None:
        if self._stop_if_non_finite(trainer):
            return
        loss = self._validation_loss(trainer, module, validation, step)
        module.plateau.update(loss)
        self._validated_step = step
        self._improvement.update(loss)
        patience = self._config.validation.early_stopping_patience
        if patience is not None and self._improvement.num_since_best >= patience:
            self._end(trainer, "stopped_early")

    def _draw(self, trainer: pl.Trainer, module: TrainedModule, step: int, *, last: bool) -> None:
        if not module.draws_pictures_at(step, last=last) or self._stop_if_non_finite(trainer):
            return
        with self._heartbeat.stopwatch.measuring("validation"):
            if trainer.is_global_zero or module.sharding is not None:  # every pass is collective
                self._draw_here(module, step)
            trainer.strategy.barrier("pictures")  # the others wait here, and not in a step

    def _draw_here(self, module: TrainedModule, step: int) -> None:
        try:
            with module.averaged():
                self._log.drawn.add(step, module.draw_pictures())
        except torch.OutOfMemoryError:
            if module.sharding is not None:
                raise
            self._heartbeat.warn(f"no pictures at step {step}: memory did not suffice for them")

    def _checkpoint(self, trainer: pl.Trainer, step: int) -> None:
        if self._stop_if_non_finite(trainer) or step == self._saved_step:
            return
        info = CheckpointInfo(
            step=step,
            epoch=self._epoch(step),
            seconds=self._seconds(),
            # The loss of these very weights, or none: only then can they be called the best.
            validation_loss=self._log.last("validation_loss")
            if self._validated_step == step
            else None,
            finished=step >= self._config.max_steps or self.outcome.ending == "stopped_early",
        )

        module = cast("TrainedModule", trainer.lightning_module)
        write = SharesWriter(trainer, self._config.output, step, module.sharding)
        with self._heartbeat.stopwatch.measuring("checkpoint"):
            if self._publisher is not None:
                self._publisher.save(write.by_rank_zero, self._log, info)
            else:
                write.by_another()
            # The others would wait for rank 0 in the next step, and call that time useful.
            trainer.strategy.barrier("checkpoint")
        self._saved_step = step
        self._barrier.checkpoint_taken()


def _learning_rates(trainer: pl.Trainer) -> dict[str, float]:
    """The first group's, and each further one's under the group's name."""
    first, *others = trainer.optimizers[0].param_groups
    rates = {f"learning_rate/{group['name']}": effective_rate(group) for group in others}
    return {"learning_rate": effective_rate(first), **rates}


def _mean_over_ranks(loss_sum: torch.Tensor, num_rows: int) -> tuple[float, float]:
    """The mean over all rows of all ranks, which may have had unequal shares, and how many."""
    shared = torch.stack((loss_sum, torch.full_like(loss_sum, num_rows)))
    if num_ranks() > 1:
        dist.all_reduce(shared)
    total, count = shared.tolist()
    return total / count, count


def _norm(module: TrainedModule) -> float:
    parameters = [parameter.detach() for parameter in module.trained.values()]
    return float(whole(torch.nn.utils.get_total_norm(parameters)))


def _memory_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(psutil.Process().memory_info().rss)
