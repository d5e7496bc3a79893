"""One rank's whole run: build the parts, resume, fit, say how it ended.

Each start resolves the newest valid checkpoint from the run's own pointer; Ray Train keeps
none (docs/decisions/0005). Rank 0 decides which one it is and tells the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import lightning.pytorch as pl
import ray.train
import ray.train.lightning
import ray.train.torch
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

from darkroom.config import build_config
from darkroom.errors import FencedError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.dataset import DatasetFacts
from darkroom.jobs.train.module import DiffusionModule
from darkroom.jobs.train.worker import WorkerSettings
from darkroom.jobs.training.callback import Outcome, RunCallback
from darkroom.jobs.training.checkpoint import (
    STATE_FILE,
    CheckpointPublisher,
    RunAddress,
    resolve_checkpoint,
)
from darkroom.jobs.training.ledger import Stopwatch
from darkroom.jobs.training.metrics_log import METRICS_FILE, MetricsLog
from darkroom.jobs.training.monitor import Heartbeat
from darkroom.jobs.training.plan import Batching, DataPlan
from darkroom.jobs.training.ray_data_stream import TRAIN_SHARD, RayDataStream
from darkroom.jobs.training.stream import BatchStream, ImageRows, row_groups
from darkroom.jobs.training.training_stream import TrainingStream
from darkroom.jobs.training.validation import Validation
from darkroom.storage import Artifact, open_artifact
from darkroom.temporary import temporary_folder

_MEGABYTE = 1024**2
# find_unused_parameters keeps DDP from rebuilding its gradient buckets after the first
# backward: a rebuilt bucket sums in another order, and a resumed run starts with the old one.
# Two ranks add in one order either way.
_RANKS_WITH_ONE_SUM_ORDER = 2


def fit(worker: WorkerSettings) -> Outcome:
    """Train to this rank's end; the outcome of rank 0 is the run's."""
    config = build_config(TrainConfig, worker.config)
    rank = ray.train.get_context().get_world_rank()
    _prepare_torch(config)
    with ExitStack() as stack:
        heartbeat = stack.enter_context(Heartbeat(worker.monitor, rank))
        directory = stack.enter_context(temporary_folder())
        return _fit(config, worker.address, heartbeat, directory)


def _prepare_torch(config: TrainConfig) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(config.compute.num_threads)
    torch.use_deterministic_algorithms(config.compute.deterministic)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = not config.compute.deterministic
        torch.set_float32_matmul_precision("high")


def _fit(
    config: TrainConfig, address: RunAddress, heartbeat: Heartbeat, directory: Path
) -> Outcome:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    dataset = open_artifact(config.input, kind=Kind.DATASET)
    facts = DatasetFacts.of(dataset, config)
    module = DiffusionModule(config, facts.shape, facts.num_classes)
    stream = _stream(config, dataset, facts, heartbeat.stopwatch)
    try:
        checkpoint = _resume(address, rank, directory, heartbeat.warn)
    except FencedError:
        return Outcome("fenced")
    log, seconds_before = MetricsLog(), 0.0
    if checkpoint is not None:
        log = MetricsLog.from_bytes((directory / METRICS_FILE).read_bytes())
        info = CheckpointInfo.of(checkpoint)
        seconds_before, stream.first_epoch = info.seconds, info.epoch
    if rank == 0:
        heartbeat.report_start(0 if checkpoint is None else CheckpointInfo.of(checkpoint).step)
    publisher = None
    if rank == 0:
        publisher = CheckpointPublisher(
            address,
            config=config,
            parents=[dataset.as_parent("data")],
            keep_last=config.checkpoint.keep_last,
            asynchronous=config.checkpoint.asynchronous,
            on_published=heartbeat.checkpoint_published,
        )
    callback = RunCallback(
        config,
        stream=stream,
        validation=_validation(config, dataset, facts),
        log=log,
        publisher=publisher,
        heartbeat=heartbeat,
        seconds_before=seconds_before,
    )
    try:
        _trainer(config, callback, world).fit(
            module,
            train_dataloaders=stream,
            ckpt_path=None if checkpoint is None else directory / STATE_FILE,
            weights_only=True,
        )
    finally:
        if publisher is not None:
            with heartbeat.stopwatch.measuring("checkpoint"):
                publisher.close()
    if publisher is not None and publisher.fenced:
        callback.outcome.ending = "fenced"
    return callback.outcome


def _trainer(config: TrainConfig, callback: RunCallback, world: int) -> pl.Trainer:
    strategy: Strategy
    if world == 1:
        strategy = SingleDeviceStrategy(device=ray.train.torch.get_device())
    else:
        fixed_order = config.compute.deterministic and world > _RANKS_WITH_ONE_SUM_ORDER
        strategy = ray.train.lightning.RayDDPStrategy(find_unused_parameters=fixed_order)
    return pl.Trainer(
        max_steps=config.max_steps,
        max_epochs=-1,
        accelerator="gpu" if config.workers.use_gpu else "cpu",
        devices="auto" if world > 1 else 1,
        strategy=strategy,
        plugins=[ray.train.lightning.RayLightningEnvironment()] if world > 1 else None,
        precision="bf16-mixed" if config.compute.precision == "bfloat16" else "32-true",
        accumulate_grad_batches=config.optimizer.accumulation_steps,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def _stream(
    config: TrainConfig,
    dataset: Artifact,
    facts: DatasetFacts,
    stopwatch: Stopwatch,
) -> TrainingStream:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    num_micro_steps = config.max_steps * config.optimizer.accumulation_steps
    if config.data.ingest == "ray_data":
        return RayDataStream(
            ray.train.get_dataset_shard(TRAIN_SHARD),
            seed=config.seed,
            batch_size=config.images_per_micro_batch,
            batches_per_epoch=facts.num_train_rows // world // config.images_per_micro_batch,
            num_micro_steps=num_micro_steps,
            stopwatch=stopwatch,
        )
    plan = DataPlan(
        row_groups(dataset, "train", config.limit),
        seed=config.seed,
        shuffle_window=config.data.shuffle_window,
        batching=Batching(config.images_per_micro_batch, world, rank),
    )
    rows = ImageRows(dataset, plan, facts.shape, cache_bytes=config.data.cache_mb * _MEGABYTE)
    return BatchStream(rows, plan, num_micro_steps=num_micro_steps, stopwatch=stopwatch)


def _validation(config: TrainConfig, dataset: Artifact, facts: DatasetFacts) -> Validation | None:
    groups = row_groups(dataset, "validation", config.validation.num_images)
    if not groups:
        return None
    plan = DataPlan(groups, seed=0, shuffle_window=1, batching=Batching(1))
    rows = ImageRows(dataset, plan, facts.shape, cache_bytes=config.data.cache_mb * _MEGABYTE)
    return Validation(rows, num_images=plan.num_rows, batch_size=config.images_per_micro_batch)


def _resume(
    address: RunAddress, rank: int, directory: Path, warn: Callable[[str], None]
) -> Artifact | None:
    """The checkpoint to resume from, the same on every rank, downloaded to the folder.

    Errors: FencedError, on every rank, when another driver owns the run.
    """
    found: Artifact | None = None
    chosen: list[str | FencedError | None] = [None]
    if rank == 0:
        try:
            found = resolve_checkpoint(address, directory, warn)
            chosen = [None if found is None else str(found.uri)]
        except FencedError as error:
            chosen = [error]  # All ranks must hear of it, or they would wait for rank 0.
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast_object_list(chosen, src=0)
    if isinstance(chosen[0], FencedError):
        raise chosen[0]
    if chosen[0] is not None and found is None:
        found = open_artifact(chosen[0], kind=Kind.CHECKPOINT)
        found.download(directory)
    return found
