"""The light tier: etcd, API server, controllers and the KubeRay operator as processes, no node.

Objects are admitted, defaulted, reconciled and collected as on any cluster, with the operator's own
permissions. No kubelet runs a pod: each stays Pending. It needs neither root nor an image, takes
free ports of the loopback address, and everything of it lies in one folder.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from testcluster import kuberay, kueue
from testcluster.credentials import Credentials
from testcluster.settings import API_SERVICE_ADDRESS, SERVICE_CIDR, path_with_binaries

PROGRAMS = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "kuberay-operator"]
WITH_QUEUES = [*PROGRAMS, kueue.PROGRAM]
READY_SECONDS = 240
_LOOPBACK = "127.0.0.1"


@contextmanager
def light_cluster(directory: Path, *, queues: bool = False) -> Iterator[Path]:
    """A control plane with the operator, in an empty folder; its administrator's kubeconfig.

    The programs must be built (`PROGRAMS`, or `WITH_QUEUES` for Kueue beside the operator). Errors:
    RuntimeError naming the log of what ended.
    """
    etcd_port, peer_port, api_port, probe_port, *of_kueue = _free_ports(6)
    credentials = Credentials(
        directory / "credentials",
        f"https://{_LOOPBACK}:{api_port}",
        addresses=(_LOOPBACK, API_SERVICE_ADDRESS),
    )
    credentials.create()
    admin = credentials.kubeconfig("admin")
    with ExitStack() as stack:
        processes = _Processes(directory / "logs", stack)
        processes.start(_etcd(directory, etcd_port, peer_port))
        processes.start(_api_server(credentials, etcd_port, api_port))
        processes.wait_until(lambda: kuberay.answers("get", "--raw=/readyz", kubeconfig=admin))
        processes.start(_controller_manager(credentials))
        processes.start(_operator(_install_operator(credentials, processes), probe_port))
        if queues:
            _start_kueue(credentials, processes, *of_kueue)
        yield admin


class _Processes:
    """What was started here, each with a log; all are stopped when the stack closes."""

    def __init__(self, logs: Path, stack: ExitStack) -> None:
        self._logs, self._stack = logs, stack
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir()

    def start(self, command: list[str], name: str = "") -> None:
        name = name or command[0]
        log = self._stack.enter_context((self._logs / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command, env=path_with_binaries(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
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


def _etcd(directory: Path, client_port: int, peer_port: int) -> list[str]:
    client, peer = (f"http://{_LOOPBACK}:{port}" for port in (client_port, peer_port))
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
        f"--etcd-servers=http://{_LOOPBACK}:{etcd_port}",
        f"--bind-address={_LOOPBACK}",
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


def _install_operator(credentials: Credentials, processes: _Processes) -> Path:
    """Upstream's kinds and permissions; a kubeconfig of the operator's own account."""
    admin = credentials.kubeconfig("admin")
    made = ("create", "namespace", kuberay.NAMESPACE)
    processes.wait_until(lambda: kuberay.answers(*made, kubeconfig=admin))
    upstream = kuberay.kustomization(credentials.directory.parent / "operator", "crd", "rbac")
    kubectl = partial(kuberay.kubectl, kubeconfig=admin)
    kubectl("apply", "--server-side", f"--kustomize={upstream}")
    crds = ("rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io")
    names = [f"customresourcedefinition/{name}" for name in crds]
    kubectl("wait", "--for=condition=Established", *names)
    account = ["token", "kuberay-operator", f"--namespace={kuberay.NAMESPACE}"]
    return credentials.write_kubeconfig("operator", kubectl("create", *account).strip())


def _operator(kubeconfig: Path, probe_port: int) -> list[str]:
    return [
        "kuberay-operator",
        f"--kubeconfig={kubeconfig}",
        "--metrics-addr=0",
        f"--health-probe-bind-address={_LOOPBACK}:{probe_port}",
        "--enable-leader-election=false",
    ]


def _start_kueue(
    credentials: Credentials, processes: _Processes, webhook_port: int, probe_port: int
) -> None:
    kubeconfig = kueue.install(credentials, webhook_port)
    command = kueue.command(credentials, kubeconfig, webhook_port, probe_port)
    processes.start(command, kueue.PROGRAM)
    processes.wait_until(lambda: kueue.is_ready(probe_port))


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]
