"""Kueue beside the light control plane: the released manager, built from its module, as a process.

Upstream's own kinds, permissions and webhooks, and its default configuration but for what a process
outside of the cluster needs: the API server reaches the webhooks by URL, where upstream has a
Service, and no metrics and no visibility server. Its certificate for metrics has a fixed place
below /etc, which a mount namespace of its own provides: for root, or by a user namespace.
"""

import base64
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from testcluster import kuberay
from testcluster.binaries import source_directory
from testcluster.control_plane import LOOPBACK
from testcluster.credentials import Credentials

NAMESPACE = "kueue-system"
PROGRAM = "kueue-manager"
# Upstream's list, less what needs kinds that nobody has here: the manager would wait for them.
FRAMEWORKS = ["batch/job", "ray.io/rayjob", "ray.io/raycluster", "ray.io/rayservice", "pod"]
FRAMEWORKS += ["deployment", "statefulset"]
_WITH_CLIENTS = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
_WITH_CLIENTS += ["customresourcedefinitions"]
_METRICS_CERTIFICATES = "kueue/metrics/certs"  # below /etc


def install(credentials: Credentials, webhook_port: int) -> Path:
    """Upstream's objects, webhooks pointed here; the kubeconfig of the manager's own account."""
    folder = credentials.directory.parent / "kueue"
    folder.mkdir()
    kubectl = partial(kuberay.kubectl, kubeconfig=credentials.kubeconfig("admin"))
    kubectl("create", "namespace", NAMESPACE)
    kubectl("apply", "--server-side", f"--kustomize={_kustomization(folder)}")
    authority = base64.b64encode((credentials.directory / "ca.crt").read_bytes()).decode()
    here = {"url": f"https://{LOOPBACK}:{webhook_port}", "caBundle": authority}
    listed = json.loads(kubectl("get", ",".join(_WITH_CLIENTS), "--output=json"))
    for item in listed["items"]:
        item["metadata"].pop("managedFields", None)
        if _point(item, here):
            changed = folder / "changed.json"
            changed.write_text(json.dumps(item))
            kubectl("replace", f"--filename={changed}")
    names = [i["metadata"]["name"] for i in listed["items"] if i["kind"].startswith("CustomRes")]
    own = [name for name in names if name.endswith("kueue.x-k8s.io")]
    kuberay.wait_for_kinds(*own, kubeconfig=credentials.kubeconfig("admin"))
    account = ["token", "kueue-controller-manager", f"--namespace={NAMESPACE}"]
    return credentials.write_kubeconfig("kueue", kubectl("create", *account).strip())


def command(credentials: Credentials, kubeconfig: Path, webhook_port: int, probe: int) -> list[str]:
    """The manager in a mount namespace where its certificates are."""
    folder = credentials.directory.parent / "kueue"
    certificates = folder / "webhook"
    etc = folder / "etc"
    for place in (certificates, etc / _METRICS_CERTIFICATES):
        place.mkdir(parents=True)
        credentials.write_server_certificate(place)
    config = folder / "config.json"
    config.write_text(json.dumps(_configuration(certificates, webhook_port, probe)))
    private = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    script = 'mount --bind "$0" /etc && exec "$@"'
    manager = [PROGRAM, f"--config={config}", f"--kubeconfig={kubeconfig}", "--zap-log-level=2"]
    gates = "--feature-gates=VisibilityOnDemand=false"
    return [*private, "sh", "-c", script, str(etc), *manager, gates]


def _kustomization(folder: Path) -> Path:
    """Parts of upstream's config/default: kinds with their conversion, permissions, webhooks."""
    upstream = source_directory("KUEUE") / "config"
    parts = [upstream / "components" / part for part in ("crd", "rbac", "webhook")]
    relative = [os.path.relpath(part.resolve(), folder.resolve()) for part in parts]
    # kustomize reads a configuration only from below its own folder.
    names = (upstream / "default" / "webhook_name_reference.yaml").read_text()
    (folder / "names.yaml").write_text(names)
    content = {
        "namespace": NAMESPACE,
        "namePrefix": "kueue-",
        "resources": relative,
        "configurations": ["names.yaml"],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    return folder


def _point(item: dict[str, Any], here: dict[str, str]) -> bool:
    """Puts our URL in the place of Kueue's service; whether the object names it."""
    conversion = item.get("spec", {}).get("conversion", {}).get("webhook", {})
    changed = False
    for hook in [*item.get("webhooks", []), conversion]:
        service = hook.get("clientConfig", {}).get("service", {})
        if service.get("namespace") == NAMESPACE:
            hook["clientConfig"] = {
                "url": here["url"] + service["path"],
                "caBundle": here["caBundle"],
            }
            changed = True
    return changed


def _configuration(certificates: Path, webhook_port: int, probe: int) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"{LOOPBACK}:{probe}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": LOOPBACK, "port": webhook_port, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": {"qps": 300, "burst": 500},
        "integrations": {"frameworks": FRAMEWORKS},
    }
