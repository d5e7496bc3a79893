"""The node: the first process of the cluster's namespaces. It prepares them, starts all, and reaps.

`machine.py` starts it by unshare(1). When a component ends, the node ends, and with it every
process in it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from testcluster import components
from testcluster.components import BRIDGE, CONTAINERD_SOCKET, RUN
from testcluster.settings import (
    CGROUP,
    DNS_ADDRESS,
    KUBECONFIG,
    LOGS,
    NODE,
    NODE_ADDRESS,
    NODE_NAME,
    SERVICE_CIDR,
    path_with_binaries,
)

START_SECONDS = 240
ENFORCE_POLICIES = "--enforce-policies"
"""Given to this program: network policies are enforced."""


def main() -> None:
    _mounts()
    _network()
    _control_groups()
    running: dict[int, str] = {}
    for start in (components.etcd, components.api_server):
        running |= _start(start())
    _wait("the API server", lambda: _kubectl("get", "--raw=/readyz"))
    for start in (components.controller_manager, components.scheduler, components.containerd):
        running |= _start(start())
    _wait("containerd", CONTAINERD_SOCKET.exists)
    _run("ctr", "-n", "k8s.io", "images", "import", str(NODE / "pause.tar"))
    for start in (components.kubelet, components.kube_proxy, components.coredns):
        running |= _start(start())
    if ENFORCE_POLICIES in sys.argv:
        running |= _enforce_policies()
    _reap(running)


def _enforce_policies() -> dict[int, str]:
    # What a policy refuses is told at once, however much it is.
    Path("/proc/sys/net/ipv4/icmp_ratemask").write_text("0")
    _wait("the node's object", lambda: _kubectl("get", "node", NODE_NAME))
    # It writes the filter table whole, as it was when it began; kube-proxy's first rules would go.
    last = ("iptables", "--wait", "--table=nat", "--list-rules", "KUBE-POSTROUTING")
    _wait("kube-proxy", lambda: _succeeds(*last))
    return _start(components.kube_router())


def _mounts() -> None:
    """Gives the node its own /run, /var/lib and /var/log; nothing of it reaches the machine's."""
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "tmpfs", "tmpfs", str(RUN))
    for name in ("lib", "log"):
        own = NODE / "var" / name
        own.mkdir(parents=True)
        _run("mount", "--bind", str(own), f"/var/{name}")


def _network() -> None:
    _run("hostname", NODE_NAME)
    _run("ip", "link", "set", "lo", "up")
    # Not on the bridge: its CNI plugin wants no other address there.
    _run("ip", "address", "add", f"{DNS_ADDRESS}/32", "dev", "lo")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    # The node's own processes reach services too: packets need a route to meet kube-proxy's rules.
    _run("ip", "route", "add", SERVICE_CIDR, "dev", BRIDGE)
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        Path("/proc/sys/net", name).write_text("1")


def _control_groups() -> None:
    for controller in control_groups():
        controller.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            own, parent = controller / name, controller.parent / name
            if own.exists() and parent.exists():
                own.write_text(parent.read_text())
        _weigh(controller)


def _weigh(group: Path) -> None:
    """Gives pods and control plane the weight of several processes of the machine.

    Else all pods together count as one, and a compiler beside them starves Ray's heartbeats: Ray
    then takes the node for dead. The node's own processes join a group of their own in there.
    """
    for name, weight in (("cpu.shares", "8192"), ("cpu.weight", "800")):
        if (group / name).exists():
            own = group / "node"
            own.mkdir(exist_ok=True)
            for each in (group, own):
                (each / name).write_text(weight)
            (own / "cgroup.procs").write_text(str(os.getpid()))


def control_groups() -> list[Path]:
    """The cluster's group in each version 1 hierarchy, or the one of version 2."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root / CGROUP]
    return [
        hierarchy / CGROUP
        for hierarchy in root.iterdir()
        if hierarchy.is_dir() and not hierarchy.is_symlink()
    ]


def _start(command: list[str]) -> dict[int, str]:
    """Starts a component, its output in a log of its own; returns its process id and name."""
    with (LOGS / f"{command[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=path_with_binaries(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return {process.pid: command[0]}


def _wait(what: str, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"{what} was not ready after {START_SECONDS} s: see {LOGS}")
        time.sleep(0.2)


def _kubectl(*arguments: str) -> bool:
    """Whether it succeeds."""
    return _succeeds("kubectl", f"--kubeconfig={KUBECONFIG}", *arguments)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, env=path_with_binaries(), capture_output=True).returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, env=path_with_binaries(), check=True)


def _reap(running: dict[int, str]) -> None:
    """Waits for every child, also for those orphaned in the namespace."""
    while True:
        pid, status = os.wait()
        if pid in running:
            sys.exit(f"{running[pid]} ended with status {status}: see {LOGS}/{running[pid]}.log")


if __name__ == "__main__":
    main()
