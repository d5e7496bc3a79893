"""kubectl for the end-to-end tests: run it, apply objects, wait, say what happened instead."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from testcluster.settings import PROJECT, versions

# What the restricted pod security standard asks of a pod, with a read-only root on top of it.
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class Kubectl:
    """kubectl on one cluster and, by `within`, in one namespace."""

    def __init__(self, *flags: str, namespace: str = "default") -> None:
        self.flags = flags
        """What chooses the cluster: --kubeconfig or --context."""
        self.namespace = namespace

    def within(self, namespace: str) -> "Kubectl":
        return Kubectl(*self.flags, namespace=namespace)

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl; returns its output, or fails with what it said."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", *self.flags, f"--namespace={self.namespace}", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    def helm(self, *arguments: str, timeout: float = 420) -> subprocess.CompletedProcess[str]:
        """Runs helm on the same cluster and namespace, from the project's root."""
        where = [flag.replace("--context", "--kube-context") for flag in self.flags]
        command = ["helm", *arguments, *where, f"--namespace={self.namespace}"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, cwd=PROJECT
        )

    def template(self, release: str, chart: Path, *flags: str) -> str:
        """What `helm template` renders; a Helm built from source assumes an old Kubernetes."""
        version = f"--kube-version={versions()['KUBERNETES_VERSION']}"
        done = self.helm("template", release, str(chart), version, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.apply_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def apply_text(self, manifests: str) -> None:
        """Applies YAML. Without kubectl's own validation, for which it fetches all schemas."""
        self("apply", "--server-side", "--validate=false", "--filename=-", stdin=manifests)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", kind, name, "--output=json"))
        return found

    def write_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Merges into an object's status, as its controller or a kubelet does."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "--subresource=status", "--type=merge", f"--patch={patch}")

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        chosen = [f"--selector={selector}"] if selector else []
        items: list[dict[str, Any]] = json.loads(self("get", kind, *chosen, "--output=json"))[
            "items"
        ]
        return items

    def explain(self) -> str:
        """What a failed test prints: the pods, the events' words, the ends of the logs."""
        pods = self.run("get", "pods", "--output=wide").stdout
        events = self.run("get", "events", "--sort-by=.lastTimestamp").stdout
        names = self.run("get", "pods", "--output=name").stdout.split()
        logs = [self.run("logs", n, "--all-containers", "--tail=30", "--prefix") for n in names]
        return "\n".join([pods, events[-6000:], *(log.stdout for log in logs)])


def wait_for(
    what: str, seen: Callable[[], Any], *, seconds: float, explain: Callable[[], str]
) -> Any:
    """Polls until `seen()` is true and returns it; after `seconds`, fails with `explain()`."""
    end = time.monotonic() + seconds
    while not (result := seen()):
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what}\n{explain()}")
        time.sleep(0.5)
    return result


def pod_spec(image: str, **container: Any) -> dict[str, Any]:
    """A pod of one locked-down container, with /tmp to write to."""
    main = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        **container,
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "containers": [main],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def run_pod(
    namespace: Kubectl,
    name: str,
    spec: dict[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> str:
    """Runs a pod to its end and returns its log; fails with the log unless it succeeded."""
    metadata = {"name": name, "labels": dict(labels or {})}
    namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def end() -> str | None:
        phase = namespace.get("pod", name)["status"].get("phase")
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = wait_for(f"end of pod {name}", end, seconds=seconds, explain=namespace.explain)
    log = namespace("logs", name)
    assert phase == "Succeeded", log
    return log


def rayjob_end(
    namespace: Kubectl, name: str, *, seconds: float, meanwhile: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Waits until a RayJob is over and returns its status; between looks it does `meanwhile`."""

    def end() -> dict[str, Any] | None:
        meanwhile()
        status: dict[str, Any] = namespace.get("rayjob", name).get("status", {})
        return status if status.get("jobDeploymentStatus") in {"Complete", "Failed"} else None

    ended: dict[str, Any] = wait_for(
        f"end of RayJob {name}", end, seconds=seconds, explain=namespace.explain
    )
    return ended


def rayjob_succeeds(
    namespace: Kubectl, name: str, *, seconds: float, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """`rayjob_end` that fails with what the namespace shows unless the job succeeded."""
    status = rayjob_end(namespace, name, seconds=seconds, meanwhile=meanwhile)
    assert status["jobStatus"] == "SUCCEEDED", f"{name}: {status}\n{namespace.explain()}"
