"""A control plane without a node: etcd, API server, controllers, and what is started beside them.

It needs neither root nor an image, takes free ports of the loopback address, and everything of it
lies in one folder. No kubelet runs a pod: each stays Pending.
"""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testcluster import kuberay
from testcluster.credentials import Credentials
from testcluster.settings import API_SERVICE_ADDRESS, SERVICE_CIDR, path_with_binaries

PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"]
READY_SECONDS = 240
LOOPBACK = "127.0.0.1"


class ControlPlane:
    """Processes with a log each and the credentials of their API server; all end together."""

    def __init__(self, directory: Path, credentials: Credentials, stack: ExitStack) -> None:
        self.directory, self.credentials = directory, credentials
        self._logs, self._stack = directory / "logs", stack
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs.mkdir()

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.credentials.kubeconfig("admin")

    def kubectl(self, *arguments: str) -> str:
        """Runs kubectl as the administrator; returns what it printed."""
        return kuberay.kubectl(*arguments, kubeconfig=self.admin)

    def answers(self, *arguments: str) -> bool:
        """Whether kubectl succeeds."""
        return kuberay.answers(*arguments, kubeconfig=self.admin)

    def account(self, name: str, namespace: str) -> Path:
        """A kubeconfig of a service account."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}").strip()
        return self.credentials.write_kubeconfig(name, token)

    def start(
        self, command: list[str], name: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts a program beside the others; `environment` is added to this process's own."""
        name = name or command[0]
        log = self._stack.enter_context((self._logs / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command,
            env={**path_with_binaries(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._running[name] = process
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)  # nothing of it is kept

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Polls. Errors: RuntimeError when a process has ended, or nothing comes."""
        end = time.monotonic() + READY_SECONDS
        while not ready():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                names = ", ".join(ended or self._running)
                raise RuntimeError(
                    f"the control plane does not come up: see {names} in {self._logs}"
                )
            time.sleep(0.2)

    def wait_for_kinds(self, *names: str) -> None:
        """Waits until the API server serves these, each as plural.group."""
        kinds = [f"customresourcedefinition/{name}" for name in names]
        # kubectl fails, rather than waits, where there is no condition yet.
        self.wait_until(lambda: self.answers("wait", "--for=condition=Established", *kinds))


@contextmanager
def control_plane(directory: Path) -> Iterator[ControlPlane]:
    """Starts one in an empty folder. The programs must be built (`PROGRAMS`).

    Errors: RuntimeError naming the log of what ended.
    """
    etcd_port, peer_port, api_port = free_ports(3)
    credentials = Credentials(
        directory / "credentials",
        f"https://{LOOPBACK}:{api_port}",
        addresses=(LOOPBACK, API_SERVICE_ADDRESS),
    )
    credentials.create()
    with ExitStack() as stack:
        plane = ControlPlane(directory, credentials, stack)
        plane.start(_etcd(directory, etcd_port, peer_port))
        plane.start(_api_server(credentials, etcd_port, api_port))
        plane.wait_until(lambda: plane.answers("get", "--raw=/readyz"))
        plane.start(_controller_manager(credentials))
        yield plane


def free_ports(number: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def is_well(port: int, path: str) -> bool:
    """Whether what listens on this port of ours answers `path` with 200."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _etcd(directory: Path, client_port: int, peer_port: int) -> list[str]:
    client, peer = (f"http://{LOOPBACK}:{port}" for port in (client_port, peer_port))
    return [
        "etcd",
        f"--data-dir={directory}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(credentials: Credentials, etcd_port: int, port: int) -> list[str]:
    return [
        "kube-apiserver",
        f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=RBAC",
        *credentials.api_server_flags,
        "--endpoint-reconciler-type=none",  # its service needs no pod's way to it
        "--profiling=false",
    ]


def _controller_manager(credentials: Credentials) -> list[str]:
    return [
        "kube-controller-manager",
        f"--kubeconfig={credentials.kubeconfig('controller-manager')}",
        *credentials.controller_flags,
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]
