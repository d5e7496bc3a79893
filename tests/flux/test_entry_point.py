"""What Flux has made of an empty cluster by the development entry point.

The charts of KubeRay, Kueue and Prometheus are in the place of their projects' own
(tests/helpers/charts_of_others.py): Kueue's manager and Prometheus do not run.
"""

from __future__ import annotations

import json

from testcluster.settings import versions
from tests.helpers.charts_of_others import PROMETHEUS_VERSION
from tests.helpers.flux_entry import FluxEntry
from tests.helpers.flux_release import NAMESPACE, FluxRelease
from tests.helpers.namespaces import RESTRICTED


def test_all_of_it_is_there(entry: FluxEntry, entered: FluxRelease) -> None:
    ours = entered.kubectl
    assert entry.cluster.get("clusterqueue", "darkroom")
    assert entry.cluster.get("priorityclass", "darkroom-head")
    assert ours.get("localqueue", "gpu")["spec"]["clusterQueue"] == "darkroom"
    (head,) = ours.list("pods", "ray.io/cluster=darkroom,ray.io/node-type=head")
    assert head["spec"]["serviceAccountName"] == "darkroom"
    assert ours.get("statefulset", "darkroom-s3")["status"]["readyReplicas"] == 1


def test_nothing_was_tried_before_what_it_needs_was_there(entry: FluxEntry) -> None:
    """Each waits for those before, so none fails and is tried again."""
    assert entry.warnings == []


def test_other_projects_charts_come_at_our_versions(entry: FluxEntry) -> None:
    listed = entry.cluster("get", "helmreleases", "--all-namespaces", "--output=json")
    found = {
        item["metadata"]["name"]: item["status"]["history"][0]["chartVersion"]
        for item in json.loads(listed)["items"]
        if item["spec"]["chart"]["spec"]["sourceRef"]["kind"] == "HelmRepository"
    }
    assert found == {
        "kuberay": versions()["KUBERAY_VERSION"].removeprefix("v"),
        "kueue": versions()["KUEUE_VERSION"].removeprefix("v"),
        "prometheus": PROMETHEUS_VERSION,
    }


def test_namespaces_have_their_labels(entry: FluxEntry) -> None:
    """Those of the operators, and ours, by which the cluster queue goes."""

    def labels(name: str) -> dict[str, str]:
        return dict(entry.cluster.get("namespace", name)["metadata"]["labels"])

    for name in ("kuberay-system", "kueue-system"):
        assert labels(name)["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (
        labels(NAMESPACE).items() >= {**RESTRICTED, "app.kubernetes.io/part-of": "darkroom"}.items()
    )
