"""`darkroom serve` on one machine: a local Ray, or the cluster of RAY_ADDRESS, and its application.

Everything that can be known before is refused before Ray starts. When it ends, new drawings are
refused, those under way are finished, and what was started here is stopped.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.drawing.lora import find_adapter
from darkroom.jobs.drawing.signing import signing_of
from darkroom.jobs.drawing.text_model import check_is_model, finetuned_info
from darkroom.jobs.named_function import find_function
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.keys import KeyRing
from darkroom.jobs.session import local_num_cpus, ray_session
from darkroom.messages import first_line
from darkroom.models.find import FoundModel, find_model

_PROXY_READY_SECONDS = "60"
"""Ray gives its proxy 5 s, which a busy machine exceeds; serve.start then fails."""
_DRAIN_CALL_SECONDS = 30.0
_DRAIN_POLL_SECONDS = 0.2
_IDLE_ANSWERS = 3


@dataclass(frozen=True)
class Serving:
    """A service that answers."""

    address: str
    """http://host:port, of the page and of the API's base, which is `/v1` below it."""
    models: tuple[str, ...]


@contextmanager
def serving(config: ServeConfig) -> Iterator[Serving]:
    """Serve for as long as the context lasts; leaving it drains.

    Errors: ConfigError and DataError for models, LoRAs, keys, an address or a port that cannot be
    used, DarkroomError where the application does not come up.
    """
    _check(config)
    port = _port(config.host, config.port)
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", _PROXY_READY_SECONDS)
    workers = config.workers
    needed = int(workers.reserved_cpus * workers.num_workers) + 1
    borrowed = _is_borrowed()
    with ray_session(num_cpus=local_num_cpus(needed)):
        from darkroom.jobs.serve.app import APP, build

        serve: Any = importlib.import_module("ray.serve")  # partly without types
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            try:
                serve.start(
                    proxy_location="HeadOnly", http_options={"host": config.host, "port": port}
                )
                handle = serve.run(build(config.to_dict()), name=APP, route_prefix="/")
            except (RuntimeError, TimeoutError) as error:  # the latter of a proxy on a busy machine
                raise DarkroomError(f"the service did not come up ({first_line(error)})") from error
            try:
                host = f"[{config.host}]" if ":" in config.host else config.host
                yield Serving(f"http://{host}:{port}", config.model_names)
            finally:
                _drain(handle, config)
        finally:
            _take_down(serve, APP, borrowed=borrowed)


def _is_borrowed() -> bool:
    """Whether the Ray was there before, and stays: of this process, or of RAY_ADDRESS."""
    # Not imported here: the session first sets what must stand before that.
    ray = sys.modules.get("ray")
    running = ray is not None and ray.is_initialized()
    return running or os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def _check(config: ServeConfig) -> None:
    """What would fail on a replica, told in one line before anything starts."""
    if config.keys is not None:
        KeyRing(config.keys)
    signing_of(config.signing)
    if config.jobs.place is not None:
        JobsPlace(config.jobs.place, days=config.jobs.days).check()
    for number, model in enumerate(config.models):
        found = find_model(model, field="models", variant=config.variant)
        check_is_model(found, field="models")
        is_published = found.manifest_digest is not None
        finetuned = (
            finetuned_info(found, field="models", lora_field="loras") if is_published else None
        )
        if not number:
            _check_loras(config, found, draws_classes=is_published and finetuned is None)
    if config.safety_check is not None and not _is_borrowed():
        find_function("safety_check", config.safety_check)


def _check_loras(config: ServeConfig, base: FoundModel, *, draws_classes: bool) -> None:
    for name, lora in config.loras.items():
        if draws_classes:
            raise ConfigError(
                f"loras.{name}", lora.model, f"goes over {base.name}, which draws classes",
                "leave it out, or give its base as the first model",
            )  # fmt: skip
        find_adapter(lora, base, field=f"loras.{name}", base_field="models")


def _port(host: str, port: int) -> int:
    """The port to listen at: a free one for 0. Errors: ConfigError where one cannot listen."""
    try:
        with _socket(host) as listener:
            listener.bind((host, port))
            found: int = listener.getsockname()[1]
            return found
    except (OSError, TypeError, ValueError) as error:  # the others of what can be no address
        reason = getattr(error, "strerror", None) or "it is no address"
        if port and getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
            raise ConfigError(
                "port", port, f"cannot be listened at on {host} ({reason})",
                "choose another with --port; 0 takes a free one",
            ) from None  # fmt: skip
        raise ConfigError(
            "host", host, f"cannot be listened at ({reason})",
            "give an address of this machine with --host",
        ) from None  # fmt: skip


def _socket(host: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener


def _drain(handle: Any, config: ServeConfig) -> None:
    """Refuse new drawings, and let those under way finish.

    Taken down at once, the application would lose its addresses, and clients get Ray's 404.
    """
    until = time.monotonic() + config.drain_seconds
    idle = 0
    # A call reaches one of the replicas, any.
    while idle < _IDLE_ANSWERS * config.http_replicas and time.monotonic() < until:
        under_way: int = handle.drain.remote().result(timeout_s=_DRAIN_CALL_SECONDS)
        idle = 0 if under_way else idle + 1
        time.sleep(_DRAIN_POLL_SECONDS if under_way else 0)


def _take_down(serve: Any, app: str, *, borrowed: bool) -> None:
    """The application, and Serve if no other is left. A Ray of our own ends by itself."""
    serve.delete(app)
    if borrowed and not serve.status().applications:
        serve.shutdown()
