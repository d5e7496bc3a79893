"""Installs the KubeRay operator from its Go module: objects by kustomize, the image from source."""

import json
import os
import subprocess
from collections.abc import Sequence

from testcluster import archive
from testcluster.binaries import source_directory
from testcluster.machine import node_command
from testcluster.settings import BIN, KUBECONFIG, NODE, path_with_binaries, versions

NAMESPACE = "kuberay-system"
METRICS = {"value": "--enable-metrics"}


def install() -> None:
    """Imports the operator's image and applies upstream's objects, in a namespace of its own."""
    image = f"quay.io/kuberay/operator:{versions()['KUBERAY_VERSION']}"
    image_archive = NODE / "operator.tar"
    archive.write_image(image_archive, image, BIN / "kuberay-operator", entrypoint="/manager")
    import_image = node_command("ctr", "-n", "k8s.io", "images", "import", str(image_archive))
    subprocess.run(import_image, env=path_with_binaries(), check=True, stdout=subprocess.DEVNULL)
    kubectl("create", "namespace", NAMESPACE)
    kubectl("apply", "--server-side", "-k", str(_kustomization()))


def wait_until_ready(seconds: int = 300) -> None:
    timeout = f"--timeout={seconds}s"
    kubectl("wait", "node", "--all", "--for=condition=Ready", timeout)
    kubectl(
        "-n", NAMESPACE, "wait", "deployment/kuberay-operator", "--for=condition=Available", timeout
    )


def kubectl(*arguments: str) -> str:
    """Runs kubectl on this cluster, whatever KUBECONFIG says; returns what it printed."""
    return subprocess.run(
        _command(arguments), env=path_with_binaries(), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def exists(kind: str, name: str) -> bool:
    """Whether the API server answers, and has the object."""
    command = _command(["get", kind, name])
    return subprocess.run(command, env=path_with_binaries(), capture_output=True).returncode == 0


def _command(arguments: Sequence[str]) -> list[str]:
    return ["kubectl", f"--kubeconfig={KUBECONFIG}", *arguments]


def _kustomization() -> str:
    folder = NODE / "operator"
    folder.mkdir(exist_ok=True)
    upstream = source_directory("KUBERAY") / "config" / "default"
    # kustomize takes no absolute path.
    resource = os.path.relpath(upstream.resolve(), folder.resolve())
    # As the operator's own Helm chart has it: without this flag there are no kuberay_* metrics.
    metrics = {"op": "add", "path": "/spec/template/spec/containers/0/args/-"}
    patch = {"target": {"kind": "Deployment"}, "patch": json.dumps([metrics | METRICS])}
    content = {"namespace": NAMESPACE, "resources": [resource], "patches": [patch]}
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    return str(folder)
