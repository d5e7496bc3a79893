"""The cluster's release under Flux's released controllers: installed, changed, left alone, back.

The test scales in the autoscaler's place, for no Ray runs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.helpers.flux_release import NAME, NAMESPACE, FluxRelease
from tests.helpers.queued import scale, workers

Object = dict[str, Any]


@pytest.fixture
def scaled(release: FluxRelease) -> Iterator[FluxRelease]:
    """The release where two workers run that the autoscaler asked for; afterwards none."""
    kubectl = release.kubectl
    scale(kubectl, NAME, 2)
    release.until("two workers", lambda: len(workers(kubectl, NAME, gated=False)) == 2)
    yield release
    scale(kubectl, NAME, 0, *workers(kubectl, NAME, gated=False))
    release.until("no workers", lambda: not workers(kubectl, NAME, gated=False))


def pool(release: FluxRelease) -> Object:
    (found,) = release.kubectl.get("raycluster", NAME)["spec"]["workerGroupSpecs"]
    return dict(found)


def image(release: FluxRelease) -> str:
    containers = pool(release)["template"]["spec"]["containers"]
    return str(containers[0]["image"])


def set_maximum(release: FluxRelease, number: int) -> None:
    def change(values: Object) -> None:
        assert values["pools"]["cpu"]["maxReplicas"] != number
        values["pools"]["cpu"]["maxReplicas"] = number

    release.set_values(change)


def keys(release: FluxRelease) -> Object:
    return dict(release.kubectl.get("secret", f"{NAME}-s3")["data"])


def test_the_release_is_installed_from_the_bucket(release: FluxRelease) -> None:
    (first, *_) = reversed(release.history())
    assert first["chartName"] == "darkroom-cluster"
    # The chart's own version, and the revision of the bucket behind it.
    version, _, revision = first["chartVersion"].partition("+")
    assert (
        version
        == yaml.safe_load((release.charts / "charts/darkroom-cluster/Chart.yaml").read_text())[
            "version"
        ].partition("+")[0]
    )
    assert revision
    (head,) = release.kubectl.list("pods", f"ray.io/cluster={NAME},ray.io/node-type=head")
    assert head["status"]["phase"] == "Running"


def test_changed_values_reach_a_pool_and_keep_the_autoscalers_number(scaled: FluxRelease) -> None:
    """helm-controller renders with a look at the cluster: the keys that the chart made stay."""
    made, running = keys(scaled), workers(scaled.kubectl, NAME, gated=False)
    before = scaled.version()
    set_maximum(scaled, 5)
    scaled.upgraded(before)
    assert (pool(scaled)["maxReplicas"], pool(scaled)["replicas"]) == (5, 2)
    assert workers(scaled.kubectl, NAME, gated=False) == running
    assert keys(scaled) == made


def test_a_changed_chart_arrives(release: FluxRelease) -> None:
    """`reconcileStrategy: Revision`: also one whose version is the same."""
    file = release.charts / "charts/darkroom-cluster/Chart.yaml"
    chart = yaml.safe_load(file.read_text())
    chart["appVersion"] = "0.1.99"
    file.write_text(yaml.safe_dump(chart))
    before = release.version()
    assert not image(release).endswith(":0.1.99")
    release.publish_charts()
    release.upgraded(before)
    assert image(release).endswith(":0.1.99")


def test_what_others_wrote_is_left_alone(scaled: FluxRelease) -> None:
    """Drift correction is off: it would put the autoscaler's numbers back."""
    before, limit = scaled.version(), pool(scaled)["maxReplicas"] + 20
    path = "/spec/workerGroupSpecs/0/maxReplicas"
    patch = json.dumps([{"op": "replace", "path": path, "value": limit}])
    scaled.kubectl("patch", "raycluster", NAME, "--type=json", f"--patch={patch}")
    for _ in range(2):
        scaled.reconcile("helmrelease", NAME, NAMESPACE)
    assert scaled.version() == before
    assert (pool(scaled)["maxReplicas"], pool(scaled)["replicas"]) == (limit, 2)
    # A person's change goes at the next upgrade, the autoscaler's number does not.
    set_maximum(scaled, limit - 10)
    scaled.upgraded(before)
    assert (pool(scaled)["maxReplicas"], pool(scaled)["replicas"]) == (limit - 10, 2)


def test_values_that_the_chart_refuses_change_nothing(release: FluxRelease) -> None:
    before, limit = release.version(), pool(release)["maxReplicas"]
    release.set_values(lambda values: values["pools"]["cpu"].update(maxReplica=1))
    release.until(
        "the refusal", lambda: "maxReplica" in release.condition("Ready").get("message", "")
    )
    assert release.condition("Ready")["status"] == "False"
    assert pool(release)["maxReplicas"] == limit
    release.set_values(lambda values: values["pools"]["cpu"].pop("maxReplica"))
    release.until("the release", lambda: release.condition("Ready").get("status") == "True")
    assert pool(release)["maxReplicas"] == limit
    assert release.version() >= before


def test_an_upgrade_that_does_not_come_up_is_rolled_back(release: FluxRelease) -> None:
    """Where a team asks for it: `upgrade.remediation`. The S3 server's new pod is made to wait."""
    limit = pool(release)["maxReplicas"]
    remediation = {"retries": 0, "remediateLastFailure": True}
    asked = {"spec": {"timeout": "20s", "upgrade": {"remediation": remediation}}}
    release.kubectl("patch", "helmrelease", NAME, "--type=merge", f"--patch={json.dumps(asked)}")
    release.until("the release", lambda: release.holds("helmrelease", NAME, NAMESPACE))
    before = release.version()

    def change(values: Object) -> None:
        values["pools"]["cpu"]["maxReplicas"] = limit + 2
        values["devS3"]["resources"]["requests"]["memory"] = "300Mi"

    release.set_values(change)
    release.until(
        "the failure",
        lambda: release.condition("Released").get("reason") == "UpgradeFailed",
        pods=False,
    )
    release.until(
        "the way back", lambda: release.condition("Remediated").get("reason") == "RollbackSucceeded"
    )
    assert pool(release)["maxReplicas"] == limit
    assert release.version() > before

    normal = {"spec": {"timeout": None, "upgrade": None}}
    release.kubectl("patch", "helmrelease", NAME, "--type=merge", f"--patch={json.dumps(normal)}")
    release.set_values(lambda values: values["pools"]["cpu"].update(maxReplicas=limit + 4))
    release.until("the release", lambda: pool(release)["maxReplicas"] == limit + 4)
    release.until("the release", lambda: release.holds("helmrelease", NAME, NAMESPACE))
