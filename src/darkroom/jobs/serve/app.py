"""The Ray Serve application: replicas that answer HTTP, and replicas that draw.

    client -> proxy -> HttpReplica -> handle -> DrawingReplica (engine/)

`darkroom serve` runs it on one machine; a RayService names `darkroom.jobs.serve.app:build` as its
import path, with the settings of `darkroom serve --show-config` as `args`, in which the pod's own
variables may stand (pod_variables.py). Every deployment may surge, or an update in place would make
requests wait for a new replica's models.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from darkroom.config import build_config
from darkroom.errors import ReplicaLostError
from darkroom.jobs.serve.api_error import not_ready
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Drawn
from darkroom.jobs.serve.http_api import HttpApi
from darkroom.jobs.serve.pod_variables import with_pod_variables
from darkroom.jobs.serve.replica import DrawingReplica
from darkroom.jobs.serve.request import DrawRequest, ServedModel

APP = "darkroom"
HTTP = "http"
DRAWING = "drawing"
_HEALTH_PERIOD_SECONDS = 5
_LOADING_TRIES = 3
_SURGE_PERCENT = 100
_NUM_CONNECTIONS = 1000
"""What one replica of the HTTP side has open at once; Serve refuses more with 429."""
_LOST = (RayActorError, NodeDiedError, ObjectLostError)
"""A picture that was drawn lies on the replica's node until it is fetched."""


def build(args: Mapping[str, Any]) -> serve.Application:
    """The application for plain settings. Errors: ConfigError in one line."""
    config = build_config(ServeConfig, with_pod_variables(args, os.environ))
    shared: dict[str, Any] = {
        "max_surge_percent": _SURGE_PERCENT,
        "graceful_shutdown_timeout_s": config.drain_seconds,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": _HEALTH_PERIOD_SECONDS,
        "max_constructor_retry_count": _LOADING_TRIES,
    }
    workers = config.workers
    drawing = _deployment(
        DrawingReplica,
        name=DRAWING,
        num_replicas=workers.num_workers,
        max_ongoing_requests=config.limits.max_requests * config.limits.max_images,
        ray_actor_options={"num_cpus": workers.reserved_cpus, "num_gpus": workers.num_gpus},
        **shared,
    ).bind(config.to_dict())
    application: serve.Application = _deployment(
        serve.ingress()(HttpReplica),
        name=HTTP,
        num_replicas=config.http_replicas,
        max_ongoing_requests=_NUM_CONNECTIONS,
        max_queued_requests=_NUM_CONNECTIONS,
        backpressure_config={"status_code": 429, "retry_after_s": 2},
        ray_actor_options={"num_cpus": 0.0},
        **shared,
    ).bind(config.to_dict(), drawing)
    return application


def _deployment(replica: type, **options: Any) -> Any:
    """A deployment; Ray's own types take the call for a decorator's."""
    return serve.deployment(replica, **options)


class HttpReplica:
    """Answers HTTP; draws through a handle."""

    def __init__(self, values: Mapping[str, Any], drawing: DeploymentHandle[Any]) -> None:
        self._api = HttpApi(build_config(ServeConfig, values), HandleDrawers(drawing))

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._api.app()

    def drain(self) -> int:
        """Refuse new drawings from now on; how many are under way."""
        self._api.draining = True
        return self._api.under_way


class HandleDrawers:
    """The drawing replicas."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._streaming = handle.options(stream=True)

    async def models(self) -> tuple[ServedModel, ...]:
        models: tuple[ServedModel, ...] = await self._handle.models.remote()
        return models

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        """Serve's router waits for a replica. Whether to begin again is the caller's to say.

        Errors: as of `Drawers.draw`; ApiError 503 where what draws could not be deployed; what the
        replica raised, as it was raised there.
        """
        response: Any = self._streaming.draw.remote(request)
        try:
            async for item in response:
                yield item
        except _LOST as error:
            raise ReplicaLostError(f"what drew is lost ({type(error).__name__})") from error
        except DeploymentUnavailableError as error:
            raise not_ready() from error
        except RayTaskError as error:
            # Ray's own is of the cause's type too, and its text is the traceback.
            raise error.cause from None
        finally:
            response.cancel()
