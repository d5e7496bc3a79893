"""The driver of a training verb: claim the run, train on Ray, publish the model.

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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from darkroom.errors import ConfigError, InterruptedBySignal, OutputExistsError, StorageError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.columns import check_columns
from darkroom.jobs.artifacts.info import names_of
from darkroom.jobs.leftovers import remove_leftovers
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.jobs.training.checkpoint import LIVE_PREFIX, RunAddress, checkpoint_to_export
from darkroom.jobs.training.config import TrainingConfig
from darkroom.jobs.training.dataset import TrainingData
from darkroom.jobs.training.endings import raise_for
from darkroom.jobs.training.export import export_model
from darkroom.jobs.training.goodput import GoodputAccount
from darkroom.jobs.training.goodput_records import AccountRecords, command_began_at
from darkroom.jobs.training.init_from import ROLE, starting_checkpoint
from darkroom.jobs.training.memory_events import described_restart
from darkroom.jobs.training.optimizer_checks import check_optimizer
from darkroom.jobs.training.optimizer_checks import remarks as optimizer_remarks
from darkroom.jobs.training.trainable import OnRow, Trainable, ignore_row
from darkroom.jobs.training.worker_settings import WorkerSettings
from darkroom.storage import Artifact, RunPointer, open_artifact, open_output, open_store

logger = logging.getLogger(__name__)


def run_training(trainable: Trainable[Any], *, on_row: OnRow = ignore_row) -> dict[str, Any]:
    """Train until the model is published; returns where, and its figures.

    on_row: sees every row of the metrics log, here in the driver.
    Errors: InputError leaves for bad input and for what the user can mend on the way,
    TrainingError, InterruptedBySignal (143), and FencedError when another driver took the run over.
    """
    try:
        return _run(trainable, on_row=on_row)
    except OutputExistsError as error:
        if error.field != "max_steps":
            raise
        raise OutputExistsError(
            error.field, error.value, error.problem,
            "to train longer, start a new run from that one: init_from.uri, with another output",
        ) from None  # fmt: skip


def _run(trainable: Trainable[Any], *, on_row: OnRow) -> dict[str, Any]:
    began_at = command_began_at()
    config: TrainingConfig = trainable.config
    dataset = open_artifact(config.input, kind=Kind.DATASET)
    data = TrainingData.of(dataset, config, takes_buckets=trainable.takes_buckets)
    check_optimizer(config)
    if config.workers.sharding != "none" and not trainable.can_shard:
        raise ConfigError(
            "workers.sharding", config.workers.sharding,
            f"is not for {trainable.verb}, whose networks fit into one GPU", "leave it at none",
        )  # fmt: skip
    trainable.check(data)
    start = starting_checkpoint(config, trainable.network_fields)
    parents = (
        dataset.as_parent("data"),
        *(() if start is None else (start.as_parent(ROLE),)),
        *trainable.parents(),
    )
    with open_output(config.output, kind=Kind.MODEL, config=config, parents=parents) as output:
        if output.completed is not None:
            return _summary(trainable, output.completed)
        for remark in (
            *data.remarks(config), *optimizer_remarks(config.optimizer), *trainable.remarks(data)
        ):  # fmt: skip
            logger.warning("%s", remark)
        labelled = "label" in trainable.columns
        check_columns(
            dataset,
            len(data.classes) if labelled else None,
            field="input",
            columns=("id", *trainable.columns),
        )
        address = RunAddress(config.output, secrets.token_hex(8))
        pointer = RunPointer.claim(
            config.output, owner=address.owner, config=config, parents=parents
        )
        records = AccountRecords(pointer)
        account = GoodputAccount(
            driver=address.owner,
            num_workers=config.workers.num_ranks,
            began_at=began_at,
            earlier=records.earlier(),
        )
        with _ending_on_record(account, records), _ray_for(config):
            checkpoint = checkpoint_to_export(pointer, config.export)
            if checkpoint is None:
                settings = WorkerSettings(
                    trainable, data, address, parents, start, records.out_of_memory
                )
                _train(settings, account=account, records=records, on_row=on_row)
                checkpoint = checkpoint_to_export(
                    RunPointer.attach(config.output, owner=address.owner), config.export
                )
            account.spend("startup", time.time())
            if checkpoint is None:
                raise StorageError(f"{config.output}: training ended but left no valid checkpoint")
            model = export_model(output, checkpoint, trainable, data, account=account)
        records.delete()
    _delete_live_view(config.output)
    return _summary(trainable, model)


@contextmanager
def _ending_on_record(account: GoodputAccount, records: AccountRecords) -> Iterator[None]:
    """Write down how this driver ends, unless it is killed: then the next one does."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, InterruptedBySignal | KeyboardInterrupt)
        account.end("interrupted" if stopped else "failed", time.time())
        records.close(account)
        raise


def _train(
    settings: WorkerSettings,
    *,
    account: GoodputAccount,
    records: AccountRecords,
    on_row: OnRow,
) -> None:
    """Run the workers to the end of training; needs a Ray session.

    Errors: as `run_training`; the outcome of rank 0 tells which.
    """
    config: TrainingConfig = settings.trainable.config
    from darkroom.jobs.training.driver import run_workers, stop_signals

    events = list(settings.out_of_memory)
    with stop_signals() as stop:
        while True:
            outcome = run_workers(
                replace(settings, out_of_memory=tuple(events)),
                datasets=_ray_datasets(settings.trainable, settings.data),
                stop=stop,
                account=account,
                records=records,
                on_row=on_row,
            )
            if outcome.out_of_memory is None:
                break
            logger.warning("%s", described_restart(outcome.out_of_memory))
            events.append(outcome.out_of_memory)
            records.out_of_memory = tuple(events)
            records.write(account)
    raise_for(outcome, config, settings.address)


def _ray_datasets(trainable: Trainable[Any], data: TrainingData) -> dict[str, Any] | None:
    """What Ray Data splits over the workers."""
    if trainable.config.data.ingest == "exact":
        return None
    from darkroom.jobs.training.ray_data_rows import TRAIN_SHARD, decoded_dataset

    return {TRAIN_SHARD: decoded_dataset(data, trainable.config, trainable.columns)}


def _ray_for(config: TrainingConfig) -> AbstractContextManager[None]:
    """The Ray session that its workers need; without workers none."""
    return ray_session(_local_cpus(config)) if config.workers.num_workers else nullcontext()


def _local_cpus(config: TrainingConfig) -> int | None:
    """CPUs that a Ray of our own claims to have: Ray Data waits for ever where none is spare."""
    if config.data.ingest == "exact":
        return None
    taken = math.ceil(config.workers.all_cpus)
    return local_num_cpus(taken + 2)


def _delete_live_view(output: str) -> None:
    store = open_store(output)
    left = (item.key for item in store.list(f"{LIVE_PREFIX}/"))
    remove_leftovers(store, left, f"the live page stays in {output}/{LIVE_PREFIX}")


def _summary(trainable: Trainable[Any], model: Artifact) -> dict[str, Any]:
    info = trainable.info.of(model)
    return {
        **names_of(model),
        "step": info.step,
        "training_seconds": info.seconds,
        **info.final,
    }
