"""One Ray session for a job: the cluster that RAY_ADDRESS names, or a local Ray of our own.

Assumes that nothing else in this process manages Ray; a Ray that is already initialised is used
as it is and left running. On a cluster the image brings darkroom; locally the workers get this
package's directory. The jobs decide what runs on Ray, and for how long.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.demand import watched_demands
from darkroom.jobs.environment import make_paths_absolute
from darkroom.jobs.interpreter import job_config, plain_executable, quick_workers, workers_python
from darkroom.jobs.local_ray_folder import local_ray_folder
from darkroom.loopback import keep_off_proxies
from darkroom.messages import first_line

MIN_NUM_CPUS = 4
"""Ray Train and Ray Data wait for ever, without a word, on fewer; the count is bookkeeping."""

OBJECT_STORE_BYTES = 512 * 1024**2
"""A local object store; what does not fit is spilled to disk by Ray."""
MIN_OBJECT_STORE_BYTES = 80 * 1024**2
"""Ray refuses less than 75 MiB."""

KNOCK_SECONDS = 10.0
"""How long a cluster's port may take to answer."""

EXIT_SECONDS = 5.0
"""For the processes of a local Ray to end by themselves once it has ended."""

_START_ATTEMPTS = 3
"""Ray gives its node 30 s to start, which a busy machine can exceed."""

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (inspected, never written to)


def local_num_cpus(needed: int = 0) -> int:
    """Logical CPUs for a local Ray that must have room for `needed` at once."""
    return max(MIN_NUM_CPUS, os.cpu_count() or 1, needed)


@contextmanager
def ray_session(
    num_cpus: int | None = None, *, log_to_driver: bool = False, watches_demands: bool = True
) -> Iterator[None]:
    """Connect to RAY_ADDRESS or start a local Ray; stop only what was started here.

    num_cpus: logical CPUs of a local Ray; by default the cores, and never under 4. A cluster
        keeps its own count.
    log_to_driver: also print what workers print (stdout included).
    watches_demands: say what this driver's work waits for; one that has none need not.

    Errors: ConfigError when the cluster does not answer or /dev/shm cannot hold the object store,
    DarkroomError when a local Ray does not come up.
    """
    _set_default_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    with ExitStack() as stack:
        own: Iterable[psutil.Process] = ()
        with _keeping_sigterm_handler():
            if address and address != "local":
                _connect(address, log_to_driver=log_to_driver)
            else:
                folder = stack.enter_context(local_ray_folder())
                stack.enter_context(plain_executable())
                own = _start(num_cpus or local_num_cpus(), folder, log_to_driver=log_to_driver)
        stack.callback(_stop, own)
        # A driver by ray:// may not reach the cluster's GCS, and Ray ends a process that cannot.
        if watches_demands and not address.startswith("ray://"):
            stack.enter_context(watched_demands())
        yield


def running_address() -> str:
    """What RAY_ADDRESS must be for another process to use this session's Ray."""
    import ray

    given = os.environ.get("RAY_ADDRESS", "")
    if given.startswith("ray://"):  # such a driver has no connection to the GCS of its own
        return given
    address: str = ray.get_runtime_context().gcs_address
    return address


@contextmanager
def _keeping_sigterm_handler() -> Iterator[None]:
    """ray.init installs a handler that exits with 15, where users expect 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _connect(address: str, *, log_to_driver: bool) -> None:
    import ray

    _check_address(address)
    # A driver by ray:// has a proxy in the cluster, which knows nothing of our current folder.
    own: dict[str, Any] = {} if address.startswith("ray://") else {"job_config": job_config()}
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=log_to_driver, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            "RAY_ADDRESS",
            address,
            f"no Ray cluster can be used there ({first_line(error)})",
            "correct it, or unset it to run on a local Ray",
        ) from error


def _check_address(address: str) -> None:
    """Refuse what Ray would take for the name of a host, and look for in vain."""
    scheme, sign, rest = address.rpartition("://")
    if sign and scheme != "ray":
        dashboard = scheme in ("http", "https")
        raise ConfigError(
            "RAY_ADDRESS",
            address,
            "is the address of Ray's dashboard, which `ray job submit` takes" if dashboard
            else f"{scheme}:// is no scheme of Ray's",
            "write the cluster's own, host:6379 or ray://host:10001, or unset it to run on a"
            " local Ray",
        )  # fmt: skip
    host, _, port = rest.rpartition(":")
    if address != "auto" and not (host.strip() == host != "" and port.isdecimal()):
        remedy = "write host:6379, ray://host:10001 or auto, or unset it to run on a local Ray"
        raise ConfigError("RAY_ADDRESS", address, "is not host:port", remedy)


def _knock(address: str) -> None:
    """Raise OSError when nothing listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _start(num_cpus: int, folder: Path | None, *, log_to_driver: bool) -> Iterable[psutil.Process]:
    """Start a local Ray; its processes that are children of this one."""
    object_store_bytes = local_object_store_bytes()
    _set_local_auth()
    # Asks the autoscaler whether this node is about to be taken away: a process more, for nothing.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)  # before ray.init configures it
    for attempt in range(1, _START_ATTEMPTS + 1):
        before = set(psutil.Process().children())
        try:
            _start_once(num_cpus, object_store_bytes, folder, log_to_driver=log_to_driver)
            break
        except Exception as error:  # Ray raises bare Exception when its node is slow to start
            _stop(set(psutil.Process().children()) - before, exit_seconds=0)
            if attempt == _START_ATTEMPTS:
                raise DarkroomError(
                    f"a local Ray could not be started ({first_line(error)}); "
                    "free CPU, memory or disk on this machine, or set RAY_ADDRESS to a cluster"
                ) from error
    return set(psutil.Process().children()) - before


def _start_once(
    num_cpus: int, object_store_bytes: int, folder: Path | None, *, log_to_driver: bool
) -> None:
    import ray

    with workers_python(), quick_workers(folder):
        ray.init(
            address="local",
            job_config=job_config(),
            num_cpus=num_cpus,
            object_store_memory=object_store_bytes,
            include_dashboard=False,  # eleven processes and 900 MB that nobody is told of
            logging_level=logging.ERROR,
            log_to_driver=log_to_driver,
            _temp_dir=str(folder) if folder else None,
        )


def _stop(own: Iterable[psutil.Process], *, exit_seconds: float = EXIT_SECONDS) -> None:
    """Leave Ray. own: what was started here, of which no process stays.

    exit_seconds: for them to end by themselves.

    Ray forgets a worker once that has said goodbye, and a worker can hang after it: Ray 2.60's
    own handler at exit may wait for a lock that it holds.
    """
    import ray

    theirs: list[psutil.Process] = []
    for process in own:
        with suppress(psutil.NoSuchProcess):
            theirs += [process, *process.children(recursive=True)]
    ray.shutdown()
    _, left = psutil.wait_procs(theirs, timeout=exit_seconds)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=EXIT_SECONDS)


def local_object_store_bytes(shared_memory: Path = _SHARED_MEMORY) -> int:
    """Size of a local object store that `shared_memory` can hold.

    Errors: ConfigError naming the directory when it is missing, read-only or too small, where
    Ray would only say that the node timed out.
    """
    if sys.platform != "linux":
        return OBJECT_STORE_BYTES
    remedy = (
        "Ray keeps objects there: mount a writable tmpfs of at least 512 MB (Docker: "
        "--shm-size=1g; Kubernetes: an emptyDir with medium Memory)"
    )
    where = str(shared_memory)
    if not shared_memory.is_dir() or not os.access(shared_memory, os.W_OK):
        raise ConfigError(where, None, "is missing or not writable", remedy)
    free = shutil.disk_usage(shared_memory).free
    # Ray wants a margin, or it falls back to slow files under /tmp.
    if free * 0.9 < MIN_OBJECT_STORE_BYTES:
        raise ConfigError(where, None, f"has only {free // 1024**2} MiB free", remedy)
    return min(OBJECT_STORE_BYTES, int(free * 0.9))


def _set_default_environment() -> None:
    """Defaults that must stand before Ray starts; the user's own settings win."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own 15 lets workers hardly run at all beside anything else that is busy.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # How often Ray Train asks its workers how they are: its own 2 s lengthen every run by as much.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    # Ray's own number is none: a task that does not fit into memory would be tried for ever.
    os.environ.setdefault("RAY_task_oom_retries", "100")
    keep_off_proxies(os.environ)
    make_paths_absolute(os.environ)


def _set_local_auth() -> None:
    """A token for a Ray of this process alone, so that none is written under HOME.

    Ray turns token auth on by itself where RAY_AUTH_MODE is unset; setting the mode here would
    come too late in a process that has imported ray already.
    """
    given = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not given:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
