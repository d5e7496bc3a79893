"""One rank's whole run: build the parts, resume, fit, say how it ended.

Each start resolves the newest valid checkpoint from the run's own pointer; Ray Train keeps
none (docs/decisions/0005). Rank 0 decides which one it is and tells the others.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import ray.train
import ray.train.lightning
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import Strategy

from darkroom.errors import FencedError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.training.callback import RunCallback
from darkroom.jobs.training.checkpoint import STATE_FILE, CheckpointPublisher, resolve_checkpoint
from darkroom.jobs.training.checkpoint_state import is_sharded, read_state
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.endings import Outcome
from darkroom.jobs.training.heartbeat import Heartbeat
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.jobs.training.module import TrainedModule
from darkroom.jobs.training.monitor_line import MonitorLine
from darkroom.jobs.training.plan import Batching
from darkroom.jobs.training.precision import precision_plugin
from darkroom.jobs.training.ray_data_rows import TRAIN_SHARD
from darkroom.jobs.training.ray_data_stream import RayDataStream
from darkroom.jobs.training.seeding import INITIAL_WEIGHTS, derive_seed
from darkroom.jobs.training.sharded_batches import ShardedMicroBatches
from darkroom.jobs.training.starting_state import starting_state
from darkroom.jobs.training.strategies import sharding_of, strategy_of
from darkroom.jobs.training.stream import BatchStream
from darkroom.jobs.training.training_stream import TrainingStream
from darkroom.jobs.training.validation import Validation
from darkroom.jobs.training.worker_settings import WorkerSettings
from darkroom.storage import Artifact, open_artifact
from darkroom.temporary import temporary_folder


def fit(worker: WorkerSettings, line: MonitorLine) -> Outcome:
    """Train to this rank's end; the outcome of rank 0 is the run's."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    with ExitStack() as stack:
        stack.enter_context(_torch_as_asked(worker.trainable.config))
        heartbeat = stack.enter_context(Heartbeat(line, rank))
        directory = stack.enter_context(temporary_folder())
        return _Rank(worker, rank, world, heartbeat, directory).fit()


@contextmanager
def _torch_as_asked(config: TrainingConfig) -> Iterator[None]:
    """torch's settings for this run; without workers, the process is the caller's own."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(config.compute.num_threads)
    torch.use_deterministic_algorithms(config.compute.deterministic)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = not config.compute.deterministic
        torch.set_float32_matmul_precision("high")
    try:
        with warnings.catch_warnings():
            # What does not train stays as it is published: a frozen base does not drop out.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
            # Lightning, on torch's trees.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@dataclass(frozen=True)
class _Beginning:
    """Where a start of the workers begins; by default at nothing."""

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    log: MetricsLog = field(default_factory=MetricsLog)
    state: Path | None = None
    """What Lightning restores."""


@dataclass(frozen=True)
class _Rank:
    """One worker's parts."""

    worker: WorkerSettings
    rank: int
    world: int
    heartbeat: Heartbeat
    directory: Path
    """For what is downloaded."""

    @property
    def config(self) -> TrainingConfig:
        config: TrainingConfig = self.worker.trainable.config
        return config

    def fit(self) -> Outcome:
        """Resume and train."""
        torch.manual_seed(derive_seed(self.config.seed, INITIAL_WEIGHTS))
        module = self.worker.trainable.build(self.worker.data)
        sharding = sharding_of(
            self.world, self.config.workers.sharding, self.config.compute.precision
        )
        if sharding is not None:
            module.micro_batches = ShardedMicroBatches(
                self.config.micro_batch_size, batch_size=self.config.batch_size
            )
        module.micro_batches.know(self.worker.out_of_memory)
        module.prepare(sharding)
        stream = self._stream()
        try:
            begin = self._beginning(module)
        except FencedError:
            return Outcome("fenced")
        stream.first_epoch = begin.epoch
        publisher = None
        if self.rank == 0:
            self.heartbeat.report_start(begin.step)
            publisher = self._publisher()
        callback = RunCallback(
            self.config,
            stream=stream,
            validation=self._validation(),
            log=begin.log,
            publisher=publisher,
            heartbeat=self.heartbeat,
            seconds_before=begin.seconds,
        )
        try:
            self._trainer(callback, strategy_of(self.world, sharding)).fit(
                module,
                train_dataloaders=stream,
                ckpt_path=begin.state,
                weights_only=True,
            )
        finally:
            if publisher is not None:
                with self.heartbeat.stopwatch.measuring("checkpoint"):
                    publisher.close()
        if publisher is not None and publisher.ended:
            callback.outcome.ending, callback.outcome.fault = publisher.ended, publisher.fault
        return callback.outcome

    def _beginning(self, module: TrainedModule) -> _Beginning:
        """The run's own newest checkpoint, else another run's that it starts from, else nothing.

        Errors: FencedError, on every rank; InputError when the other run's does not fit.
        """
        state = self.directory / STATE_FILE
        if (checkpoint := self._resume()) is not None:
            if module.sharding is None and is_sharded(self.directory):
                torch.save(read_state(state), state)
            info = CheckpointInfo.of(checkpoint)
            log = MetricsLog.read(self.directory)
            return _Beginning(info.step, info.epoch, info.seconds, log, state)
        start, init_from = self.worker.start, self.config.init_from
        if start is None or init_from is None:
            return _Beginning()
        start.download(self.directory)
        info = CheckpointInfo.of(start)
        at = (info.step, info.epoch) if init_from.steps == "continue" else (0, 0)
        before = read_state(state)
        torch.save(starting_state(before, module, init_from, step=at[0]), state)
        return _Beginning(*at, state=state)

    def _publisher(self) -> CheckpointPublisher:
        return CheckpointPublisher(
            self.worker.address,
            config=self.config,
            parents=self.worker.parents,
            keep_last=self.config.checkpoint.keep_last,
            asynchronous=self.config.checkpoint.asynchronous,
            on_published=self.heartbeat.checkpoint_published,
        )

    def _trainer(self, callback: RunCallback, strategy: Strategy) -> pl.Trainer:
        config, world = self.config, self.world
        return pl.Trainer(
            max_steps=config.max_steps,
            max_epochs=-1,
            accelerator="gpu" if config.workers.use_gpu else "cpu",
            devices="auto" if world > 1 else 1,
            strategy=strategy,
            plugins=self._plugins(),
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )

    def _plugins(self) -> list[Any]:
        config = self.config
        environment = [ray.train.lightning.RayLightningEnvironment()] if self.world > 1 else []
        device = "cuda" if config.workers.use_gpu else "cpu"
        return [*environment, precision_plugin(config.compute.precision, device)]

    def _stream(self) -> TrainingStream:
        config, data = self.config, self.worker.data
        batching = Batching(config.batch_size, self.world, self.rank)
        if config.data.ingest == "ray_data":
            return RayDataStream(
                ray.train.get_dataset_shard(TRAIN_SHARD),
                seed=config.seed,
                batch_size=batching.size,
                batches_per_epoch=data.num_train_rows // self.world // config.largest_share,
                first=batching.first,
                num_steps=config.max_steps,
                stopwatch=self.heartbeat.stopwatch,
            )
        source = self.worker.trainable.source(data, "train", config.limit)
        plan = source.plan(
            batching, seed=config.seed, shuffle_window=config.data.shuffle_window,
            order=config.data.order,
        )  # fmt: skip
        return BatchStream(
            source.reader(plan, seed=config.seed, cache_bytes=self.config.data.cache_bytes),
            plan,
            num_steps=config.max_steps,
            largest=partial(source.largest, batching),
            stopwatch=self.heartbeat.stopwatch,
        )

    def _validation(self) -> Validation | None:
        config, data = self.config, self.worker.data
        source = self.worker.trainable.source(data, "validation", config.validation.num_images)
        in_order = cache(source.in_order)  # a validation asks again, mostly for the same size
        plan, batches = in_order(config.micro_batch_size)
        if not batches:
            return None
        rows = source.reader(plan, seed=None, cache_bytes=self.config.data.cache_bytes)
        return Validation(rows, lambda size: in_order(size)[1])

    def _resume(self) -> Artifact | None:
        """The checkpoint to resume from, the same on every rank, downloaded to the folder.

        Errors: FencedError, on every rank, when another driver owns the run.
        """
        found: Artifact | None = None
        chosen: list[str | FencedError | None] = [None]
        if self.rank == 0:
            try:
                found = resolve_checkpoint(self.worker.address, self.directory, self.heartbeat.warn)
                chosen = [None if found is None else str(found.uri)]
            except FencedError as error:
                chosen = [error]  # All ranks must hear of it, or they would wait for rank 0.
        if self.world > 1:
            dist.broadcast_object_list(chosen, src=0)
        if isinstance(chosen[0], FencedError):
            raise chosen[0]
        if chosen[0] is not None and found is None:
            found = open_artifact(chosen[0], kind=Kind.CHECKPOINT)
            found.download(self.directory)
        return found
