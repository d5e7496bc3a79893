"""Argo CD beside the control plane: application controller and repo server, as processes.

Upstream's own kinds, permissions and default configuration; one binary, which is told by a variable
what it is. The controller has the permissions of its own account, and takes the cluster of its
kubeconfig for the one that it runs in, as upstream's own end-to-end tests do. There is no API
server of Argo CD's (UI, CLI): the project `default`, which that one makes when it first starts, is
made here. Redis is Debian's.
"""

import json
import os
import shutil
from pathlib import Path

from testcluster.binaries import source_directory
from testcluster.control_plane import LOOPBACK, ControlPlane, free_ports, is_well
from testcluster.settings import path_with_binaries

NAMESPACE = "argocd"
PROGRAM = "argocd"
PROGRAMS = [PROGRAM, "kustomize", "helm"]  # the repo server renders with the other two
_CONTROLLER = "argocd-application-controller"
_REPO_SERVER = "argocd-repo-server"
_KINDS = ["applications.argoproj.io", "applicationsets.argoproj.io", "appprojects.argoproj.io"]
_PARTS = ["crds", "cluster-rbac/application-controller", "base/application-controller-roles"]
_PARTS += ["base/config"]
# The repo server asks it of every commit, whether or not signatures matter.
_SIGNATURES = "git-verify-wrapper.sh"


def start(plane: ControlPlane) -> None:
    """Installs Argo CD and starts it. The programs must be built, and redis-server on PATH.

    Errors: RuntimeError naming the log of what ended.
    """
    folder = plane.directory / "argocd"
    scratch = folder / "tmp"
    scratch.mkdir(parents=True)
    _install(plane, folder)
    redis, repo_server, repo_metrics, metrics = free_ports(4)
    account = plane.account(_CONTROLLER, NAMESPACE)
    environment = {
        "HOME": str(folder),  # no configuration of git's or Helm's but their defaults
        "TMPDIR": str(scratch),
        "PATH": f"{_scripts(folder)}:{path_with_binaries()['PATH']}",
        "KUBECONFIG": str(account),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(folder / "ask-pass.sock"),
    }
    cache = f"--redis={LOOPBACK}:{redis}"
    plane.start(_redis(folder, redis))
    plane.start(
        [
            PROGRAM,
            f"--address={LOOPBACK}",
            f"--port={repo_server}",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={repo_metrics}",
            "--disable-tls",
            "--client-ca-path=",  # its default is refused without TLS
            cache,
        ],
        _REPO_SERVER,
        environment | {"ARGOCD_BINARY_NAME": _REPO_SERVER},
    )
    plane.start(
        [
            PROGRAM,
            f"--kubeconfig={account}",
            f"--namespace={NAMESPACE}",
            f"--repo-server={LOOPBACK}:{repo_server}",
            "--repo-server-plaintext",
            f"--metrics-port={metrics}",
            cache,
        ],
        _CONTROLLER,
        environment | {"ARGOCD_BINARY_NAME": _CONTROLLER},
    )
    plane.wait_until(lambda: is_well(repo_metrics, "/healthz") and is_well(metrics, "/healthz"))


def _install(plane: ControlPlane, folder: Path) -> None:
    plane.wait_until(lambda: plane.answers("create", "namespace", NAMESPACE))
    upstream = source_directory("ARGOCD") / "manifests"
    # kustomize takes no absolute path.
    parts = [os.path.relpath((upstream / part).resolve(), folder.resolve()) for part in _PARTS]
    (folder / "kustomization.yaml").write_text(
        json.dumps({"namespace": NAMESPACE, "resources": parts})
    )
    plane.kubectl("apply", "--server-side", f"--kustomize={folder}")
    plane.wait_for_kinds(*_KINDS)
    project = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }
    made = folder / "project.json"
    made.write_text(json.dumps(project))
    plane.kubectl("create", f"--filename={made}")


def _scripts(folder: Path) -> Path:
    """Where the scripts of upstream's image are."""
    scripts = folder / "scripts"
    scripts.mkdir()
    shutil.copyfile(source_directory("ARGOCD") / "hack" / _SIGNATURES, scripts / _SIGNATURES)
    (scripts / _SIGNATURES).chmod(0o755)
    return scripts


def _redis(folder: Path, port: int) -> list[str]:
    own = ["--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)]
    return ["redis-server", *own, "--save", ""]  # nothing of it is kept
