"""Who reaches whom: pods that listen everywhere, an outside, and probes from each to all.

What listens answers on every port of PORTS, so a connection that fails was refused on its way.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from testcluster.client import Kubectl, pod_spec
from testcluster.machine import node_command
from testcluster.settings import API_SERVICE_ADDRESS, DNS_ADDRESS, NODE_ADDRESS

TCP = (53, 80, 443, 5353, 6379, 6443, 8000, 8080, 8265, 8333, 10001, 44217, 44227)
UDP = (53, 5353)
PORTS = frozenset([*(str(port) for port in TCP), *(f"{port}/udp" for port in UDP)])

OUTSIDE = {
    "public": "203.0.113.10",
    "private": "10.250.0.10",
    "metadata": "169.254.169.254",
    "agent": "169.254.170.23",  # of EKS Pod Identity
}
"""Addresses beyond the node, in a network namespace of their own."""
OF_THE_NODE = {
    "dns": {f"{DNS_ADDRESS} 53", f"{DNS_ADDRESS} 53/udp"},
    "api": {f"{API_SERVICE_ADDRESS} 443", f"{NODE_ADDRESS} 6443"},
    "kubelet": {f"{NODE_ADDRESS} 10250"},
}
"""What is there anyway: CoreDNS, the API server by its service and by itself, the kubelet."""

Reached = set[tuple[str, str, str]]
"""From, to, port."""

# Listens on all ports of the addresses given, until its standard input ends; of all and for ever
# without any. One socket for each address: an answer by UDP must come from the one asked.
LISTEN = f"""
import asyncio, sys
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, address): self.transport.sendto(data, address)
async def answer(reader, writer): writer.close()
async def main():
    loop = asyncio.get_running_loop()
    for address in sys.argv[1:] or ["0.0.0.0"]:
        for port in {TCP}: await asyncio.start_server(answer, address, port)
        for port in {UDP}: await loop.create_datagram_endpoint(Echo, local_addr=(address, port))
    print("listening", flush=True)
    if sys.argv[1:]: await loop.run_in_executor(None, sys.stdin.read)
    else: await asyncio.Event().wait()
asyncio.run(main())
"""
# Prints those of its arguments, each "address port", that answer.
PROBE = r"""
import socket, sys
from concurrent.futures import ThreadPoolExecutor
QUERY = bytes.fromhex("12340100000100000000000004" "6b756265" "0000010001")
def answers(target):
    address, port = target.split()
    number, _, protocol = port.partition("/")
    kind = socket.SOCK_DGRAM if protocol else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as peer:
        peer.settimeout(3)
        try:
            peer.connect((address, int(number)))
            if protocol: peer.send(QUERY); peer.recv(512)
        except OSError:
            return False
    return True
with ThreadPoolExecutor(48) as pool:
    for target, open_ in zip(sys.argv[1:], pool.map(answers, sys.argv[1:])):
        if open_: print(target)
"""


class Places:
    """Pods by name, each in its namespace, and every address that they try to reach."""

    def __init__(self, pods: Mapping[str, Kubectl]) -> None:
        self._pods = pods
        self._targets: dict[str, tuple[str, str]] = {}
        for name, kubectl in pods.items():
            address = kubectl.get("pod", name)["status"]["podIP"]
            self._targets |= {f"{address} {port}": (name, port) for port in PORTS}
        for name, address in OUTSIDE.items():
            self._targets |= {f"{address} {port}": (name, port) for port in PORTS}
        for name, targets in OF_THE_NODE.items():
            self._targets |= {target: (name, target.split()[1]) for target in targets}

    def everything(self) -> Reached:
        """All that would be reached if nothing were refused."""
        return {
            (source, target, port)
            for source in self._pods
            for target, port in self._targets.values()
            if source != target
        }

    def reached(self) -> Reached:
        """Every pod tries everything but itself, all at once."""
        with ThreadPoolExecutor(4) as side_by_side:
            found = side_by_side.map(self._from, self._pods)
            return {each for of_one in found for each in of_one}

    def _from(self, source: str) -> Reached:
        tried = [target for target, (name, _) in self._targets.items() if name != source]
        said = self._pods[source]("exec", source, "--", "python", "-c", PROBE, *tried)
        return {(source, *self._targets[target]) for target in said.splitlines()}


def listening_pod(name: str, labels: Mapping[str, str], image: str) -> dict[str, Any]:
    """A locked-down pod that listens, with these labels, ready when it does."""
    ready = {"tcpSocket": {"port": TCP[-1]}, "periodSeconds": 1}
    spec = pod_spec(image, command=["python", "-c", LISTEN], readinessProbe=ready)
    low_ports = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    spec["securityContext"] = {**spec["securityContext"], "sysctls": [low_ports]}
    spec["terminationGracePeriodSeconds"] = 0
    metadata = {"name": name, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@contextmanager
def outside() -> Iterator[None]:
    """The addresses of OUTSIDE, listening, behind a cable from the node; gone afterwards."""
    inside = "ip -n outside"
    lines = [
        "ip netns add outside",
        "ip link add outside type veth peer name eth0 netns outside",
        "ip address add 198.18.0.1/30 dev outside",
        "ip link set outside up",
        f"{inside} address add 198.18.0.2/30 dev eth0",
        f"{inside} link set lo up",
        f"{inside} link set eth0 up",
        f"{inside} route add default via 198.18.0.1",
    ]
    for address in OUTSIDE.values():
        lines.append(f"{inside} address add {address}/32 dev lo")
        lines.append(f"ip route add {address}/32 via 198.18.0.2")
    lines.append('exec ip netns exec outside "$0" -c "$@"')
    script = ["sh", "-e", "-c", "\n".join(lines), sys.executable, LISTEN]
    script += OUTSIDE.values()
    try:
        with subprocess.Popen(
            node_command(*script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n", "nothing listens outside"
            yield  # then its input ends, and so does it
    finally:
        subprocess.run(node_command("ip", "netns", "delete", "outside"), check=False)


def as_text(reached: Reached) -> str:
    """A line for each pair, with what is open between them."""
    pairs: dict[tuple[str, str], set[str]] = {}
    for source, target, port in reached:
        pairs.setdefault((source, target), set()).add(port)
    lines = []
    for (source, target), ports in sorted(pairs.items()):
        known = PORTS if target not in OF_THE_NODE else set()
        said = "all" if ports == known else " ".join(sorted(ports, key=_port_number))
        lines.append(f"{source:>16} -> {target:<16} {said}")
    return "\n".join(lines)


def _port_number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol
