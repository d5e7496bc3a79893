"""A verb's config and job, found by the verb's name and imported when they are needed.

The command line runs verbs by it, and so do verbs whose work is in part another verb's: `tune`,
whose trials are runs, and `evaluate`, which lets `sample` draw. So no verb imports another one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.config import JobConfig


def config_type_of(verb: str) -> type[JobConfig]:
    """The class of the verb's config; imports pydantic, never ray or torch."""
    module = importlib.import_module(f"darkroom.jobs.{verb}.config")
    config_type: type[JobConfig] = getattr(module, f"{verb.title()}Config")
    return config_type


def job_of(verb: str) -> Callable[..., Mapping[str, Any]]:
    """The verb's `run(config)`; imports ray."""
    job: Callable[..., Mapping[str, Any]] = importlib.import_module(f"darkroom.jobs.{verb}.job").run
    return job


def foresight_of(verb: str) -> Callable[..., Any]:
    """The verb's `foresee(config)`: refuses what its `run` would, and tells what that would make.

    What it returns is not named here: configs import this module, and nothing that reads a store.
    """
    foresee: Callable[..., Any] = importlib.import_module(f"darkroom.jobs.{verb}.job").foresee
    return foresee
