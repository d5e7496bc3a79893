"""Flux beside the control plane: its source, kustomize and helm controllers, as processes.

Upstream's own kinds and permissions, bound to an account for each of them in one namespace, as in a
usual installation.
"""

import json
import os
from pathlib import Path

from testcluster.binaries import source_directory
from testcluster.control_plane import LOOPBACK, ControlPlane, free_ports, is_well

NAMESPACE = "flux-system"
SOURCE, KUSTOMIZE, HELM = "source-controller", "kustomize-controller", "helm-controller"
PROGRAMS = [SOURCE, KUSTOMIZE, HELM]
_MODULES = {SOURCE: "FLUX_SOURCE", KUSTOMIZE: "FLUX_KUSTOMIZE", HELM: "FLUX_HELM"}
_KINDS = ["buckets.source", "gitrepositories.source", "helmcharts.source", "helmreleases.helm"]
_KINDS += ["kustomizations.kustomize"]


def start(plane: ControlPlane) -> None:
    """Installs them and starts them. The programs must be built.

    Errors: RuntimeError naming the log of what ended.
    """
    folder = plane.directory / "flux"
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True)
    plane.wait_until(lambda: plane.answers("create", "namespace", NAMESPACE))
    for program in PROGRAMS:
        _install(plane, program, folder / program)
    plane.wait_for_kinds(*(f"{kind}.toolkit.fluxcd.io" for kind in _KINDS))
    (storage,) = free_ports(1)
    # Without a Service, the other controllers are told the address itself.
    own = {
        SOURCE: [
            f"--storage-path={artifacts}",
            f"--storage-addr={LOOPBACK}:{storage}",
            f"--storage-adv-addr={LOOPBACK}:{storage}",
        ],
        # By default a Kustomization looks at what it depends on every 30 s: for tests, a long time.
        KUSTOMIZE: ["--requeue-dependency=3s"],
    }
    health = {program: _start(plane, program, own.get(program, []), folder) for program in PROGRAMS}
    plane.wait_until(lambda: all(is_well(port, "/readyz") for port in health.values()))


def _install(plane: ControlPlane, program: str, folder: Path) -> None:
    """Kinds and permissions, by an account of the controller's own name."""
    folder.mkdir()
    upstream = source_directory(_MODULES[program]) / "config"
    # kustomize takes no absolute path.
    parts = [
        os.path.relpath((upstream / part).resolve(), folder.resolve()) for part in ("crd", "rbac")
    ]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": program, "namespace": NAMESPACE},
    }
    (folder / "account.json").write_text(json.dumps(account))
    subject = [
        {"op": "replace", "path": "/subjects/0/name", "value": program},
        {"op": "add", "path": "/subjects/0/namespace", "value": NAMESPACE},
    ]
    bound = [
        {"target": {"kind": kind}, "patch": json.dumps(subject)}
        for kind in ("RoleBinding", "ClusterRoleBinding")
    ]
    content = {
        "namespace": NAMESPACE,
        "resources": [*parts, "account.json"],
        "patches": bound,
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    plane.kubectl("apply", "--server-side", f"--kustomize={folder}")


def _start(plane: ControlPlane, program: str, own: list[str], folder: Path) -> int:
    """The port where it says whether it is ready."""
    (health,) = free_ports(1)
    environment = {
        "KUBECONFIG": str(plane.account(program, NAMESPACE)),
        "RUNTIME_NAMESPACE": NAMESPACE,
        "HOME": str(folder),
        "TUF_ROOT": str(folder / "sigstore"),
    }
    command = [
        program,
        "--watch-all-namespaces",
        "--metrics-addr=0",
        f"--health-addr={LOOPBACK}:{health}",
        *own,
    ]
    plane.start(command, program, environment)
    return health
