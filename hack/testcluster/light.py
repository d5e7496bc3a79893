"""The light tier: a control plane without a node, the KubeRay operator; if wanted Kueue, a Gateway.

Objects are admitted, defaulted, reconciled and collected as on any cluster, with the operator's own
permissions. No kubelet runs a pod.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testcluster import control_plane, gateway, kuberay, kueue
from testcluster.control_plane import LOOPBACK, ControlPlane, free_ports, is_well

PROGRAMS = [*control_plane.PROGRAMS, "kuberay-operator"]
WITH_QUEUES = [*PROGRAMS, kueue.PROGRAM]


@contextmanager
def light_cluster(
    directory: Path, *, queues: bool = False, gateways: bool = False, metrics_port: int = 0
) -> Iterator[Path]:
    """A control plane with the operator, in an empty folder; its administrator's kubeconfig.

    The programs must be built (`PROGRAMS`, or `WITH_QUEUES` for Kueue beside the operator).
    gateways: Gateway API's kinds, Traefik and the operator's gate of incremental upgrades; it takes
    port 80 of the loopback address. metrics_port: where the operator exports its metrics; 0 is
    nowhere. Errors: RuntimeError naming the log of what ended.
    """
    with control_plane.control_plane(directory) as plane:
        install_operator(plane)
        if gateways:
            _start_gateway(plane)
        flags = [f"--feature-gates={gateway.GATE}"] if gateways else []
        start_operator(plane, *flags, metrics_port=metrics_port)
        if queues:
            _start_kueue(plane)
        yield plane.admin


def install_operator(plane: ControlPlane) -> None:
    """Applies upstream's kinds and permissions."""
    plane.wait_until(lambda: plane.answers("create", "namespace", kuberay.NAMESPACE))
    upstream = kuberay.kustomization(plane.directory / "operator", "crd", "rbac")
    plane.kubectl("apply", "--server-side", f"--kustomize={upstream}")
    plane.wait_for_kinds("rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io")


def start_operator(plane: ControlPlane, *flags: str, metrics_port: int = 0) -> None:
    """Starts the operator as its own account; its kinds and permissions must be there."""
    (probe_port,) = free_ports(1)
    kubeconfig = plane.account("kuberay-operator", kuberay.NAMESPACE)
    plane.start(
        [
            "kuberay-operator",
            f"--kubeconfig={kubeconfig}",
            "--enable-metrics",
            f"--metrics-addr={LOOPBACK}:{metrics_port}" if metrics_port else "--metrics-addr=0",
            f"--health-probe-bind-address={LOOPBACK}:{probe_port}",
            "--enable-leader-election=false",
            *flags,
        ]
    )


def _start_gateway(plane: ControlPlane) -> None:
    gateway.install_kinds(plane.admin)
    gateway.install_class(plane.admin)
    authority = plane.credentials.directory / "ca.crt"
    plane.start(gateway.process(plane.credentials.server, authority, plane.admin), "traefik")


def _start_kueue(plane: ControlPlane) -> None:
    webhook_port, probe_port = free_ports(2)
    kubeconfig = kueue.install(plane.credentials, webhook_port)
    command = kueue.command(plane.credentials, kubeconfig, webhook_port, probe_port)
    plane.start(command, kueue.PROGRAM)
    plane.wait_until(lambda: is_well(probe_port, "/readyz"))
