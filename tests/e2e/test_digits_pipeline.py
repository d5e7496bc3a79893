"""The digits pipeline as a user runs it: the development overlay, job by job, into a bucket."""

import json
from collections.abc import Iterator

import pytest
from testcluster.client import Kubectl, rayjob_end, wait_for
from testcluster.settings import PROJECT

OVERLAY = PROJECT / "manifests" / "overlays" / "dev"
NAMESPACE = "darkroom-dev"  # the overlay's own
RELEASE = "darkroom"
# Each verb, and what it leaves in the bucket.
VERBS = {
    "prepare": "data",
    "train": "model",
    "sample": "samples",
    "evaluate": "evaluation",
    "report": "report",
}


@pytest.fixture(scope="module")
def dev(cluster: Kubectl) -> Iterator[Kubectl]:
    """kubectl in the overlay's namespace, with the overlay's cluster installed and ready."""
    cluster("apply", "--server-side", "--kustomize", str(OVERLAY / "namespace"))
    namespace = cluster.within(NAMESPACE)
    values = OVERLAY / "values" / "cluster-values.yaml"
    chart = "charts/darkroom-cluster"
    installed = namespace.helm("install", RELEASE, chart, f"--values={values}")
    assert installed.returncode == 0, installed.stderr

    def ready() -> bool:
        status = namespace.get("raycluster", RELEASE).get("status", {})
        return bool(status.get("state") == "ready")

    wait_for("a ready RayCluster", ready, seconds=300, explain=namespace.explain)
    yield namespace
    # While the cluster lives: the operator stops a deleted job on it, and waits when it cannot.
    namespace("delete", "rayjobs", "--all", timeout=180)
    removed = namespace.helm("uninstall", RELEASE)
    assert removed.returncode == 0, removed.stderr
    cluster("delete", "namespace", NAMESPACE, timeout=300)


def test_every_verb_succeeds_and_publishes(dev: Kubectl) -> None:
    for verb, output in VERBS.items():
        dev("apply", "--server-side", "--kustomize", str(OVERLAY / verb))
        status = rayjob_end(dev, f"darkroom-{verb}", seconds=900)
        assert status["jobStatus"] == "SUCCEEDED", f"{verb}: {status}\n{dev.explain()}"
        manifest = _manifest(dev, output)
        assert manifest["files"], f"{verb} published nothing"


def _manifest(dev: Kubectl, output: str) -> dict[str, object]:
    """The manifest that a job published, read from the bucket with the cluster's own identity."""
    uri = f"s3://darkroom/digits/{output}"
    script = (
        "import json; from darkroom.storage import open_store; "
        f"print(open_store({uri!r}).get('manifest.json').decode())"
    )
    head = dev.list("pods", f"ray.io/cluster={RELEASE},ray.io/node-type=head")[0]
    name = head["metadata"]["name"]
    printed = dev("exec", name, "--container=ray-head", "--", "python", "-c", script)
    manifest: dict[str, object] = json.loads(printed)
    return manifest
