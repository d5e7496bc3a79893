"""The cluster's release from a Bucket: installed, changed, left alone, back.

The charts lie in the project's own S3. The test scales in the autoscaler's place, for no Ray runs
here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from testcluster import flux
from testcluster.client import Kubectl
from testcluster.control_plane import control_plane
from testcluster.light import install_operator, start_operator
from testcluster.settings import PROJECT
from tests.helpers.dev_pool import maximum
from tests.helpers.flux_bucket import BucketRelease
from tests.helpers.flux_objects import FluxObjects
from tests.helpers.flux_release import KIND, NAME, Object

from darkroom.storage import EmbeddedServer

CHART = "charts/darkroom-cluster/Chart.yaml"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on a control plane with the operator and Flux."""
    with control_plane(tmp_path_factory.mktemp("flux")) as plane:
        install_operator(plane)
        start_operator(plane)
        flux.start(plane)
        yield Kubectl(f"--kubeconfig={plane.admin}")


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the charts as Flux has them of a Git repository: it leaves links out."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(PROJECT / "charts", folder / "charts", symlinks=True)
    for path in [path for path in folder.rglob("*") if path.is_symlink()]:
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def release(
    cluster: Kubectl, charts: Path, s3: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> BucketRelease:
    """The release `darkroom` of the development overlay, installed by Flux."""
    found = BucketRelease(FluxObjects(cluster), charts)
    found.install(s3, tmp_path_factory.mktemp("release"))
    return found


@pytest.fixture
def scaled(release: BucketRelease) -> Iterator[BucketRelease]:
    """The release where two workers run that the autoscaler asked for; afterwards none."""
    with release.scaled():
        yield release


def test_the_release_is_installed_from_the_bucket(release: BucketRelease) -> None:
    (first, *_) = reversed(release.history())
    assert first["chartName"] == "darkroom-cluster"
    # The chart's own version, and the revision of the bucket behind it.
    version, _, revision = first["chartVersion"].partition("+")
    ours = yaml.safe_load((release.charts / CHART).read_text())["version"]
    assert version == ours.partition("+")[0]
    assert revision
    (head,) = release.kubectl.list("pods", f"ray.io/cluster={NAME},ray.io/node-type=head")
    assert head["status"]["phase"] == "Running"


def test_changed_values_reach_a_pool_and_keep_the_autoscalers_number(scaled: BucketRelease) -> None:
    """helm-controller renders with a look at the cluster: the keys that the chart made stay."""
    made, running = scaled.keys(), scaled.workers()
    before = scaled.version()
    scaled.set_values(maximum(5))
    scaled.upgraded(before)
    assert (scaled.pool()["maxReplicas"], scaled.pool()["replicas"]) == (5, 2)
    assert scaled.workers() == running
    assert scaled.keys() == made


def test_a_changed_chart_arrives(release: BucketRelease) -> None:
    """`reconcileStrategy: Revision`: also one whose version is the same."""
    file = release.charts / CHART
    chart = yaml.safe_load(file.read_text())
    chart["appVersion"] = "0.1.99"
    file.write_text(yaml.safe_dump(chart))
    before = release.version()
    assert not release.image().endswith(":0.1.99")
    release.publish_charts()
    release.upgraded(before)
    assert release.image().endswith(":0.1.99")


def test_what_others_wrote_is_left_alone(scaled: BucketRelease) -> None:
    """Drift correction is off: it would put the autoscaler's numbers back."""
    before, limit = scaled.version(), scaled.pool()["maxReplicas"] + 20
    path = "/spec/workerGroupSpecs/0/maxReplicas"
    patch = json.dumps([{"op": "replace", "path": path, "value": limit}])
    scaled.kubectl("patch", "raycluster", NAME, "--type=json", f"--patch={patch}")
    for _ in range(2):
        scaled.reconcile()
    assert scaled.version() == before
    assert (scaled.pool()["maxReplicas"], scaled.pool()["replicas"]) == (limit, 2)
    # A person's change goes at the next upgrade, the autoscaler's number does not.
    scaled.set_values(maximum(limit - 10))
    scaled.upgraded(before)
    assert (scaled.pool()["maxReplicas"], scaled.pool()["replicas"]) == (limit - 10, 2)


def test_values_that_the_chart_refuses_change_nothing(release: BucketRelease) -> None:
    before, limit = release.version(), release.pool()["maxReplicas"]
    release.set_values(lambda values: values["pools"]["cpu"].update(maxReplica=1))
    release.flux.until(
        "the refusal", lambda: "maxReplica" in release.condition("Ready").get("message", "")
    )
    assert release.condition("Ready")["status"] == "False"
    assert release.pool()["maxReplicas"] == limit

    def mend(values: Object) -> None:
        # Not the very values of before: helm-controller then has nothing to do, and its word of the
        # failure stays. A commit in Git is another revision of the chart, so there it goes.
        del values["pools"]["cpu"]["maxReplica"]
        values["pools"]["cpu"]["maxReplicas"] = limit + 1

    release.set_values(mend)
    release.upgraded(before)
    assert release.pool()["maxReplicas"] == limit + 1


def test_what_failed_is_tried_again_by_itself(release: BucketRelease) -> None:
    """An S3 server's pod that comes after the release has given up waiting: nobody has to ask."""
    until = release.flux.until
    quick = {"strategy": {"name": "RetryOnFailure", "retryInterval": "5s"}}
    before_it = release.kubectl.get(KIND, NAME)["spec"]["upgrade"]
    hurried = {"spec": {"timeout": "10s", "upgrade": quick}}
    release.kubectl("patch", KIND, NAME, "--type=merge", f"--patch={json.dumps(hurried)}")
    until("the release", release.is_ready)

    def change(values: Object) -> None:
        values["devS3"]["resources"]["requests"]["memory"] = "310Mi"

    release.set_values(change)
    until(
        "the failure",
        lambda: release.condition("Released").get("reason") == "UpgradeFailed",
        pods=False,
    )
    until("the release", release.is_ready)
    normal = {"spec": {"timeout": None, "upgrade": before_it}}
    release.kubectl("patch", KIND, NAME, "--type=merge", f"--patch={json.dumps(normal)}")
    until("the release", release.is_ready)


def test_an_upgrade_that_does_not_come_up_is_rolled_back(release: BucketRelease) -> None:
    """Where a team asks for it: `upgrade.remediation`. The S3 server's new pod is made to wait."""
    limit, until = release.pool()["maxReplicas"], release.flux.until
    before_it = release.kubectl.get(KIND, NAME)["spec"]["upgrade"]
    upgrade = {
        "strategy": {"name": "RemediateOnFailure", "retryInterval": None},
        "remediation": {"retries": 0, "remediateLastFailure": True},
    }
    asked = {"spec": {"timeout": "20s", "upgrade": upgrade}}
    release.kubectl("patch", KIND, NAME, "--type=merge", f"--patch={json.dumps(asked)}")
    until("the release", release.is_ready)
    before = release.version()

    def change(values: Object) -> None:
        values["pools"]["cpu"]["maxReplicas"] = limit + 2
        values["devS3"]["resources"]["requests"]["memory"] = "300Mi"

    def said(condition: str) -> object:
        return release.condition(condition).get("reason")

    release.set_values(change)
    until("the failure", lambda: said("Released") == "UpgradeFailed", pods=False)
    until("the way back", lambda: said("Remediated") == "RollbackSucceeded")
    assert release.pool()["maxReplicas"] == limit
    assert release.version() > before

    normal = {"spec": {"timeout": None, "upgrade": {**before_it, "remediation": None}}}
    release.kubectl("patch", KIND, NAME, "--type=merge", f"--patch={json.dumps(normal)}")
    release.set_values(lambda values: values["pools"]["cpu"].update(maxReplicas=limit + 4))
    until("the release", lambda: release.pool()["maxReplicas"] == limit + 4)
    until("the release", release.is_ready)
