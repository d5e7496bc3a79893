"""Ray Data as our pipelines need it: a scoped, quiet context, and errors as one line.

Used by every verb that streams through Ray Data; what streams is theirs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.data
from ray.data import DataContext
from ray.exceptions import RayError, RayTaskError
from ray.util.annotations import RayDeprecationWarning

from darkroom.errors import DarkroomError

TASK_RETRIES = 10
"""How often a task may lose its worker, where nothing of its own counts that."""


def map_bounded(dataset: ray.data.Dataset, function: Any, **options: Any) -> ray.data.Dataset:
    """`dataset.map_batches`, whose tasks end: max_retries, or max_task_retries of actors.

    Ray Data's own number is none. A row that kills every worker would be tried for ever, and so
    would a function that no worker can import, which Ray takes for a fault of the system.
    """
    if not options.keys() & {"max_retries", "max_task_retries"}:
        options["max_retries"] = TASK_RETRIES
    with warnings.catch_warnings():
        # It has no other name for them yet, and warns that they will have one.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(function, **options)


@contextmanager
def quiet_data_context(*, preserve_order: bool) -> Iterator[None]:
    """One block per task (no splitting), no bars, no chatter, for datasets made inside."""
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)  # what fails is raised
    before = DataContext.get_current()
    context = before.copy()
    context.target_max_block_size = None
    context.execution_options.preserve_order = preserve_order
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True  # our errors, not only their text
    DataContext._set_current(context)  # noqa: SLF001  (the only way to scope a context)
    try:
        yield
    finally:
        DataContext._set_current(before)  # noqa: SLF001


@contextmanager
def darkroom_errors() -> Iterator[None]:
    """Our own errors out of Ray's wrappers, and Ray's as one line."""
    try:
        yield
    except RayError as error:
        raise _own_error(error) or DarkroomError(f"a task failed: {_summary(error)}") from error


def _own_error(error: BaseException | None) -> DarkroomError | None:
    while error is not None:
        if isinstance(error, DarkroomError) and not isinstance(error, RayError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _summary(error: RayError) -> str:
    """A task's own error ends in what was raised; the others begin with what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if isinstance(error, RayTaskError) else lines[0]
