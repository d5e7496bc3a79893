"""The machine's side: starts the node in namespaces of its own, links to it, takes all away."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from testcluster import archive
from testcluster.components import CREDENTIALS, PAUSE_IMAGE
from testcluster.node import ENFORCE_POLICIES, control_groups
from testcluster.settings import (
    BIN,
    HERE,
    HOST_LINK,
    HOST_LINK_ADDRESS,
    KUBECONFIG,
    LOGS,
    NODE,
    NODE_ADDRESS,
    NODE_LINK,
    NODE_LINK_ADDRESS,
    POD_CIDR,
    SERVICE_CIDR,
    path_with_binaries,
)

NETWORKS = (POD_CIDR, SERVICE_CIDR)
PID_FILE = NODE / "unshare.pid"
SYSCTLS = NODE / "sysctls.json"
# The kubelet sets these for the whole machine; `stop` puts back what it found.
KUBELET_SYSCTLS = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
]
KUBELET_SYSCTLS += ["kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"]
NAMESPACES = [
    "--mount",
    "--propagation=private",
    "--net",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
]


def obstacle() -> str:
    """Why this machine cannot have the cluster, in one line; empty when it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the test cluster needs Linux on x86-64"
    if os.geteuid() != 0:
        return "the test cluster needs root"
    trial = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
    if trial.returncode:
        return f"the test cluster needs namespaces of its own: {trial.stderr.strip()}"
    for group in control_groups():
        try:
            if not group.exists():
                group.mkdir()
                group.rmdir()
        except OSError as error:
            return f"the test cluster needs a control group of its own: {error}"
    return ""


def start(*, policies: bool) -> None:
    """Starts the node and links its network to the machine's; the node goes on without us.

    policies: whether network policies are enforced.
    """
    if Path("/sys/class/net", HOST_LINK).exists():
        sys.exit(f"another checkout has its test cluster up (link {HOST_LINK}): cluster-down there")
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    NODE.mkdir(parents=True)
    CREDENTIALS.create()
    KUBECONFIG.touch(mode=0o600)
    KUBECONFIG.write_text(CREDENTIALS.kubeconfig("admin").read_text())
    _write_pause_image()
    SYSCTLS.write_text(
        json.dumps({name: Path("/proc/sys", name).read_text() for name in KUBELET_SYSCTLS})
    )
    _link(_first_process(_unshare([ENFORCE_POLICIES] if policies else [])))


def stop() -> None:
    """Kills the node and removes what outlives it: the link, sysctls, control groups, files."""
    if pid := running():
        os.kill(pid, signal.SIGKILL)
        _wait_gone(pid)
    _unlink()
    if SYSCTLS.exists():
        for name, value in json.loads(SYSCTLS.read_text()).items():
            Path("/proc/sys", name).write_text(value)
    for group in control_groups():
        _remove_group(group)
    shutil.rmtree(NODE, ignore_errors=True)


def running() -> int | None:
    """The process id of the node's parent, or None when no node of this checkout runs."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path("/proc", str(pid), "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if b"testcluster.node" in command else None


def node_command(*command: str) -> list[str]:
    """A command line that runs `command` inside the node's namespaces."""
    pid = running()
    if pid is None:
        sys.exit("no test cluster runs: make cluster-up")
    return [
        "nsenter",
        f"--target={_first_process(pid)}",
        "--mount",
        "--net",
        "--pid",
        "--uts",
        *command,
    ]


def _unshare(arguments: list[str]) -> int:
    environment = {**path_with_binaries(), "PYTHONPATH": str(HERE.parent)}
    command = ["unshare", *NAMESPACES, sys.executable, "-m", "testcluster.node", *arguments]
    with (LOGS / "node.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PID_FILE.write_text(str(process.pid))
    return process.pid


def _first_process(unshare: int) -> int:
    """The node's first process, by the process id that the machine sees: unshare's only child."""
    children = Path("/proc", str(unshare), "task", str(unshare), "children")
    for _ in range(100):
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.05)
    sys.exit(f"the node did not start: see {LOGS}/node.log")


def _link(first: int) -> None:
    def ip(*arguments: str, namespace: bool = False) -> None:
        enter = ["nsenter", f"--target={first}", "--net"] if namespace else []
        subprocess.run([*enter, "ip", *arguments], check=True)

    _wait_for_own_network(first)
    ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", str(first))
    ip("address", "add", f"{NODE_LINK_ADDRESS}/30", "dev", NODE_LINK, namespace=True)
    ip("link", "set", NODE_LINK, "up", namespace=True)
    ip("address", "add", f"{HOST_LINK_ADDRESS}/30", "dev", HOST_LINK)
    ip("link", "set", HOST_LINK, "up")
    for network in NETWORKS:
        ip("route", "add", network, "via", NODE_LINK_ADDRESS)
        # Should the node die, nothing meant for it may leave the machine.
        ip("route", "add", "blackhole", network, "metric", "9999")


def _unlink() -> None:
    subprocess.run(["ip", "link", "delete", HOST_LINK], capture_output=True)
    for network in NETWORKS:
        subprocess.run(["ip", "route", "delete", "blackhole", network], capture_output=True)


def _wait_for_own_network(first: int) -> None:
    while Path(f"/proc/{first}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        time.sleep(0.05)


def _write_pause_image() -> None:
    program = BIN / "pause"
    subprocess.run(["gcc", "-Os", "-static", "-o", program, HERE / "pause.c"], check=True)
    archive.write_image(NODE / "pause.tar", PAUSE_IMAGE, program, entrypoint="/pause")


def _wait_gone(pid: int) -> None:
    """Waits until the kernel has taken the node's parent, and so the node, down."""
    for _ in range(300):
        if (
            not Path("/proc", str(pid)).exists()
            or "Z" in Path("/proc", str(pid), "stat").read_text().split()[2]
        ):
            return
        time.sleep(0.1)
    sys.exit(f"process {pid} of the node at {NODE_ADDRESS} does not end")


def _remove_group(group: Path) -> None:
    """Removes a control group from its leaves up; the last processes may take a moment to leave."""
    if not group.exists():
        return
    for folder, _, _ in os.walk(group, topdown=False):
        for _ in range(50):
            try:
                Path(folder).rmdir()
                break
            except OSError:
                time.sleep(0.1)
