"""The `train` verb's driver: claim the run, train on Ray, publish the model.

Safe to start again at any moment: a published model is returned as it is, a finished run is
only exported, an unfinished one goes on from its newest valid checkpoint. SIGTERM and SIGINT
ask the workers to save and stop; the exit code is then 143.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from darkroom.errors import (
    FencedError,
    InterruptedBySignal,
    NonFiniteLossError,
    StorageError,
)
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.jobs.train.config import TrainConfig
from darkroom.jobs.train.dataset import DatasetFacts
from darkroom.jobs.train.unet import unet_arguments
from darkroom.jobs.training.checkpoint import LIVE_PREFIX, RunAddress, checkpoint_to_export
from darkroom.jobs.training.ledger import Ledger
from darkroom.jobs.training.ledger_records import LedgerRecords, command_began_at
from darkroom.storage import Artifact, RunPointer, open_artifact, open_output, open_store

logger = logging.getLogger(__name__)


def run(config: TrainConfig) -> dict[str, Any]:
    """Train until the model is published; returns where, and its figures.

    Errors: InputError leaves for bad input, TrainingError, InterruptedBySignal (143), and
    FencedError when another driver took the run over.
    """
    began_at = command_began_at()
    dataset = open_artifact(config.input, kind=Kind.DATASET)
    facts = DatasetFacts.of(dataset, config)
    unet_arguments(config.unet, facts.shape, facts.num_classes)  # refuses what cannot be built
    parents = [dataset.as_parent("data")]
    with open_output(config.output, kind=Kind.MODEL, config=config, parents=parents) as output:
        if output.completed is not None:
            return _result(output.completed)
        for remark in facts.remarks(config):
            logger.warning("%s", remark)
        check_columns(dataset, facts.num_classes, field="input")
        address = RunAddress(config.output, secrets.token_hex(8))
        pointer = RunPointer.claim(
            config.output, owner=address.owner, config=config, parents=parents
        )
        records = LedgerRecords(pointer)
        ledger = Ledger(
            driver=address.owner,
            num_workers=config.workers.num_workers,
            began_at=began_at,
            earlier=records.earlier(),
        )
        with _ending_on_record(ledger, records):
            checkpoint = checkpoint_to_export(pointer, config.export)
            if checkpoint is None:
                _train(config, address, dataset, facts, ledger=ledger, records=records)
                checkpoint = checkpoint_to_export(
                    RunPointer.attach(config.output, owner=address.owner), config.export
                )
            ledger.spend("startup", time.time())
            if checkpoint is None:
                raise StorageError(f"{config.output}: training ended but left no valid checkpoint")
            from darkroom.jobs.train.export import export_model

            model = export_model(output, checkpoint, dataset, facts, config, ledger=ledger)
        records.delete()
    _delete_live_view(config.output)
    return _result(model)


@contextmanager
def _ending_on_record(ledger: Ledger, records: LedgerRecords) -> Iterator[None]:
    """Write down how this driver ends, unless it is killed: then the next one does."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, InterruptedBySignal | KeyboardInterrupt)
        ledger.end("interrupted" if stopped else "failed", time.time())
        records.close(ledger)
        raise


def _train(
    config: TrainConfig,
    address: RunAddress,
    dataset: Artifact,
    facts: DatasetFacts,
    *,
    ledger: Ledger,
    records: LedgerRecords,
) -> None:
    """Run the workers to the end of training.

    Errors: as `run`; the outcome of rank 0 tells which.
    """
    with ray_session(_local_cpus(config)):
        from darkroom.jobs.train.worker import WorkerSettings, train_worker
        from darkroom.jobs.training.driver import run_workers, stop_signals
        from darkroom.jobs.training.ray_data_stream import TRAIN_SHARD, decoded_dataset

        datasets = None
        if config.data.ingest == "ray_data":
            datasets = {
                TRAIN_SHARD: decoded_dataset(
                    dataset, facts.shape, limit=config.limit, workers=config.workers
                )
            }
        with stop_signals() as stop:
            outcome = run_workers(
                train_worker,
                lambda monitor: WorkerSettings(config.to_dict(), address, monitor),
                run_name=f"darkroom-{address.owner}",
                workers=config.workers,
                num_steps=config.max_steps,
                stop=stop,
                ledger=ledger,
                records=records,
                label=config.output,
                datasets=datasets,
            )
    _raise_for(outcome, config, address)


def _local_cpus(config: TrainConfig) -> int | None:
    """CPUs that a Ray of our own claims to have: Ray Data waits for ever where none is spare."""
    if config.data.ingest == "exact":
        return None
    taken = math.ceil(config.workers.all_cpus)
    return local_num_cpus(taken + 2)


def _raise_for(outcome: dict[str, Any], config: TrainConfig, address: RunAddress) -> None:
    ending, step = outcome["ending"], outcome["step"]
    if ending == "interrupted":
        raise InterruptedBySignal(
            f"stopped at step {step} of {config.max_steps}; a checkpoint is published, "
            f"run the same command to go on"
        )
    if ending == "fenced":
        raise FencedError(
            f"{config.output}: another driver took this run over at step {step}; "
            f"this one published nothing more"
        )
    if ending == "non_finite":
        good = RunPointer.attach(config.output, owner=address.owner).state.step
        raise NonFiniteLossError(
            f"the loss or its gradient became NaN or infinite at step {outcome['first_bad_step']}; "
            f"last good checkpoint: "
            f"{f'step {good}' if good else 'none'}; nothing after it was published; "
            f"lower optimizer.learning_rate or set optimizer.max_grad_norm"
        )
    if ending == "stopped_early":
        logger.info("stopped early at step %d: the validation loss no longer improves", step)


def _delete_live_view(output: str) -> None:
    store = open_store(output)
    store.delete([item.key for item in store.list(f"{LIVE_PREFIX}/")])


def _result(model: Artifact) -> dict[str, Any]:
    info = ModelInfo.of(model)
    return {
        **names_of(model),
        "step": info.step,
        "training_seconds": info.seconds,
        **info.final,
    }
