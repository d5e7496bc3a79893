"""The darkroom-service chart on a test cluster, and requests while things change under it.

Short, long and streaming requests come from a pod all the while, each on a connection of its own,
and short ones of a client that keeps its connection; none is ever tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from testcluster.client import Kubectl, pod_spec, wait_for
from testcluster.settings import LOGS, PROJECT
from tests.helpers.release import BUCKET, Release
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

from darkroom.errors import OutputExistsError

CHART = PROJECT / "charts" / "darkroom-service"
NAME = "draw"
KEY = "sk-" + "Zq8wX2" * 8
ADDRESS = f"{NAME}-serve-svc"
FOLDER = f"s3://{BUCKET}/service"
LOAD = PROJECT / "tests" / "helpers" / "service_load.py"
AFTER_SECONDS = 10
"""Requests go on so long after a change has ended."""
FIGURES = LOGS / "service.json"
KINDS = {"short", "long", "stream", "kept"}

Rows = list[dict[str, Any]]
"""What became of each request."""


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the kubelet says so."""
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


class Service:
    """The chart's release beside the one that has the S3 server."""

    def __init__(self, release: Release, address: str = f"{ADDRESS}:8000") -> None:
        self.kubectl: Kubectl = release.kubectl
        self.address = address
        """host:port, as the client's pod calls it."""

    def upgrade(self, *settings: str) -> None:
        namespace = self.kubectl.namespace
        own = [
            f"models={{{FOLDER}/first}}", "names={digits}",
            f"s3.endpoint=http://darkroom-s3.{namespace}.svc:8333",
        ]  # fmt: skip
        flags = [f"--set={each}" for each in (*own, *settings)]
        done = self.kubectl.helm(
            "upgrade", "--install", NAME, str(CHART), f"--values={CHART}/ci/kind.yaml", *flags
        )
        assert done.returncode == 0, done.stderr

    def open(self, image: str) -> None:
        """The key that opens it, and a pod that asks."""
        self.kubectl("create", "secret", "generic", "api-keys", f"--from-literal=team={KEY}")
        client = pod_spec(image, command=["sleep", "infinity"])
        self.kubectl.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": client}
        )

    def close(self) -> None:
        """Wait until the service, which somebody deletes, and all of `open` is gone."""
        self.kubectl("delete", "pod/client", "--grace-period=1")

        def is_gone() -> bool:
            left = self.kubectl.list("raycluster", f"ray.io/originated-from-cr-name={NAME}")
            return not left and not self.kubectl.list("rayservice")

        self.until("nothing of the service", is_gone, seconds=400)
        # With Redis the pod that removes the keys needs both (docs/decisions/0020).
        self.kubectl("delete", "secret", "api-keys")
        self.kubectl("delete", "serviceaccount", NAME, "--ignore-not-found")

    def cluster(self) -> str:
        """The RayCluster that has the traffic, while the service is ready; else nothing."""
        status = self.kubectl.get("rayservice", NAME).get("status", {})
        ready = {each["type"]: each["status"] for each in status.get("conditions", [])}
        active = status.get("activeServiceStatus", {})
        return str(active.get("rayClusterName", "")) if ready.get("Ready") == "True" else ""

    def until(self, what: str, seen: Callable[[], Any], seconds: float = 400) -> Any:
        return wait_for(what, seen, seconds=seconds, explain=self.kubectl.explain)

    def is_healthy(self) -> bool:
        """Whether every deployment has the replicas that it should have."""
        status = self.kubectl.get("rayservice", NAME)["status"]["activeServiceStatus"]
        # The operator leaves it out while another cluster starts.
        application = status.get("applicationStatuses", {}).get("darkroom", {})
        deployments = application.get("serveDeploymentStatuses", {}).values()
        return {each["status"] for each in deployments} == {"HEALTHY"}

    def pods(self) -> list[str]:
        """Names of all pods that are there, those that end included."""
        return [pod["metadata"]["name"] for pod in self.kubectl.list("pods")]

    def workers(self) -> list[str]:
        """Names of the workers that take requests."""
        selector = f"ray.io/cluster={self.cluster()},ray.io/node-type=worker"
        return [
            pod["metadata"]["name"]
            for pod in self.kubectl.list("pods", selector)
            if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)
        ]

    def ask(self, key: str, *, seconds: float = 120, **body: Any) -> dict[str, Any]:
        """One request from the client's pod, which has so long."""
        command = ["python", "-c", LOAD.read_text(), self.address, key, json.dumps(body)]
        row: dict[str, Any] = json.loads(
            self.kubectl("exec", "client", "--", *command, timeout=seconds)
        )
        return row

    def answers(self) -> bool:
        """Whether the client's pod reaches it."""
        look = f"import urllib.request as u; u.urlopen('http://{self.address}/healthz', timeout=5)"
        return self.kubectl.run("exec", "client", "--", "python", "-c", look).returncode == 0

    @contextmanager
    def load(self) -> Iterator[Rows]:
        """Requests for as long as the block lasts; what became of each, afterwards."""
        rows: Rows = []
        where = [*self.kubectl.flags, f"--namespace={self.kubectl.namespace}"]
        script = ["python", "-c", LOAD.read_text(), self.address, KEY]
        self.kubectl("exec", "client", "--", "rm", "-f", "/tmp/stop")  # noqa: S108 - the pod's
        with subprocess.Popen(
            ["kubectl", *where, "exec", "client", "--", *script], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield rows
                time.sleep(AFTER_SECONDS)  # not a wait for something: requests of these seconds
            finally:
                self.kubectl("exec", "client", "--", "touch", "/tmp/stop")  # noqa: S108
                out, _ = process.communicate(timeout=500)
        rows += json.loads(out)


@contextmanager
def installed_service(
    release: Release,
    image: str,
    *settings: str,
    address: str = f"{ADDRESS}:8000",
    num_workers: int = 2,
) -> Iterator[Service]:
    """The service, ready, with two models in the bucket and a pod that asks at the address."""
    with release.s3_from_here():
        for seed, name in enumerate(("first", "second")):
            with suppress(OutputExistsError):  # another module's service had them
                publish_model(f"{FOLDER}/{name}", unet=tiny_unet(seed=seed))
    found = Service(release, address)
    kubectl = found.kubectl
    found.open(image)
    began = time.monotonic()
    found.upgrade(*settings)
    found.until("a ready service", found.cluster, seconds=600)
    # Ready is the operator's word; the node learns of the Service after it.
    found.until("a way to the service", found.answers)
    found.until(
        f"{num_workers} workers that take requests", lambda: len(found.workers()) >= num_workers
    )
    record("ready", {"seconds": round(time.monotonic() - began, 1)})
    yield found
    done = kubectl.helm("uninstall", NAME)
    assert done.returncode == 0, done.stderr
    found.close()


def record(what: str, figures: dict[str, Any]) -> None:
    """Print figures, and keep them for reading after the run."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps({**known, what: figures}, indent=1))
    sys.stderr.write(f"service: {what}: {json.dumps(figures)}\n")


def assert_nobody_failed(what: str, rows: Rows) -> None:
    failed = recorded(what, rows)
    assert not failed, f"{len(failed)} of {len(rows)}: {failed[:3]}"


def recorded(what: str, rows: Rows, **more: Any) -> Rows:
    """Write down what became of the requests; those that failed."""
    failed = [row for row in rows if not row["ok"]]
    kinds = {row["kind"] for row in rows}
    longest = {kind: max(r["seconds"] for r in rows if r["kind"] == kind) for kind in kinds}
    figures = {"requests": len(rows), "failed": len(failed), "longest_seconds": longest, **more}
    record(what, figures)
    assert kinds == KINDS, "a kind of request never came to its end"
    return failed
