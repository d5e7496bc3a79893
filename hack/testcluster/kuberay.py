"""Installs the KubeRay operator from its Go module: objects by kustomize, the image from source."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

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
    metrics = {"op": "add", "path": "/spec/template/spec/containers/0/args/-"}
    # As the operator's own Helm chart has it: without this flag there are no kuberay_* metrics.
    patch: dict[str, object] = {
        "target": {"kind": "Deployment"},
        "patch": json.dumps([metrics | METRICS]),
    }
    upstream = kustomization(NODE / "operator", "default", patches=[patch])
    kubectl("apply", "--server-side", "-k", str(upstream))


def wait_until_ready(seconds: int = 300) -> None:
    timeout = f"--timeout={seconds}s"
    _until_answered("wait", "node", "--all", "--for=condition=Ready", timeout, seconds=seconds)
    kubectl(
        "-n", NAMESPACE, "wait", "deployment/kuberay-operator", "--for=condition=Available", timeout
    )


def kubectl(*arguments: str, kubeconfig: Path = KUBECONFIG) -> str:
    """Runs kubectl on this cluster, whatever KUBECONFIG says; returns what it printed."""
    command = _command(arguments, kubeconfig)
    return subprocess.run(
        command, env=path_with_binaries(), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def answers(*arguments: str, kubeconfig: Path = KUBECONFIG) -> bool:
    """Whether kubectl succeeds."""
    command = _command(arguments, kubeconfig)
    return subprocess.run(command, env=path_with_binaries(), capture_output=True).returncode == 0


def wait_for_kinds(*names: str, kubeconfig: Path = KUBECONFIG, seconds: int = 240) -> None:
    """Waits until the API server serves these, each as plural.group."""
    kinds = [f"customresourcedefinition/{name}" for name in names]
    established = ("wait", "--for=condition=Established", *kinds)
    _until_answered(*established, kubeconfig=kubeconfig, seconds=seconds)


def _until_answered(*arguments: str, seconds: int, kubeconfig: Path = KUBECONFIG) -> None:
    """Again and again: kubectl fails, rather than waits, where there is no condition yet.

    Errors: CalledProcessError, of the last time.
    """
    end = time.monotonic() + seconds
    while not answers(*arguments, kubeconfig=kubeconfig):
        if time.monotonic() > end:
            kubectl(*arguments, kubeconfig=kubeconfig)
            return
        time.sleep(0.2)


def kustomization(folder: Path, *parts: str, patches: Sequence[dict[str, object]] = ()) -> Path:
    """Parts of upstream's own configuration, in the operator's namespace; returns the folder."""
    folder.mkdir(exist_ok=True)
    upstream = source_directory("KUBERAY") / "config"
    # kustomize takes no absolute path.
    paths = [os.path.relpath((upstream / part).resolve(), folder.resolve()) for part in parts]
    content = {"namespace": NAMESPACE, "resources": paths, "patches": list(patches)}
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    return folder


def _command(arguments: Sequence[str], kubeconfig: Path) -> list[str]:
    return ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
