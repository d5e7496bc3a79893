"""What Argo CD has made of an empty cluster by the development entry point.

The charts of KubeRay, Kueue and Prometheus are in the place of their projects' own
(tests/helpers/charts_of_others.py): Kueue's manager and Prometheus do not run.
"""

from __future__ import annotations

import yaml
from testcluster.settings import versions
from tests.helpers.charts_of_others import PROMETHEUS_VERSION
from tests.helpers.gitops import GitOps, entry_applications
from tests.helpers.namespaces import RESTRICTED

NAMESPACE = "darkroom-dev"


def test_all_of_it_is_there(gitops: GitOps) -> None:
    names = entry_applications(gitops.repository, "dev", gitops.cluster)
    assert {"kuberay", "kueue", "prometheus", "darkroom-tenancy", "darkroom"} < {*names}
    assert gitops.applications.all().keys() >= {*names}
    assert gitops.cluster.get("clusterqueue", "darkroom")
    ours = gitops.cluster.within(NAMESPACE)
    assert ours.get("localqueue", "gpu")["spec"]["clusterQueue"] == "darkroom"
    (head,) = ours.list("pods", "ray.io/cluster=darkroom,ray.io/node-type=head")
    assert head["spec"]["serviceAccountName"] == "darkroom"


def test_the_s3_server_of_development_is_up(gitops: GitOps) -> None:
    ours = gitops.cluster.within(NAMESPACE)

    def is_ready() -> bool:
        status = ours.get("statefulset", "darkroom-s3")["status"]
        return bool(status.get("readyReplicas") == 1)

    gitops.applications.until("the S3 server", is_ready)


def test_other_projects_charts_come_at_our_versions(gitops: GitOps) -> None:
    found = {
        name: item["status"]["sync"]["revision"]
        for name, item in gitops.applications.all().items()
        if "chart" in item["spec"]["source"]
    }
    assert found == {
        "kuberay": versions()["KUBERAY_VERSION"].removeprefix("v"),
        "kueue": versions()["KUEUE_VERSION"].removeprefix("v"),
        "prometheus": PROMETHEUS_VERSION,
    }


def test_namespaces_have_their_labels(gitops: GitOps) -> None:
    """Those that Argo CD makes for an operator, and ours, by which the cluster queue goes."""

    def labels(name: str) -> dict[str, str]:
        return dict(gitops.cluster.get("namespace", name)["metadata"]["labels"])

    enforced = "pod-security.kubernetes.io/enforce"
    for name in ("kuberay-system", "kueue-system"):
        assert labels(name)[enforced] == "restricted"
    assert (
        labels(NAMESPACE).items() >= {**RESTRICTED, "app.kubernetes.io/part-of": "darkroom"}.items()
    )


def test_helms_tests_are_not_run_by_a_sync(gitops: GitOps) -> None:
    place = gitops.repository.checkout / "charts/darkroom-cluster"
    rendered = yaml.safe_load_all(gitops.cluster.template("darkroom", place))
    tests = {item["metadata"]["name"] for item in rendered if item["kind"] == "Pod"}
    assert tests
    pods = {pod["metadata"]["name"] for pod in gitops.cluster.within(NAMESPACE).list("pods")}
    assert pods & tests == set()


def test_the_keys_that_a_person_brought_stay(gitops: GitOps) -> None:
    ours = gitops.cluster.within(NAMESPACE)
    assert "ownerReferences" not in ours.get("secret", "darkroom-s3-keys")["metadata"]
    (pod,) = ours.get("statefulset", "darkroom-s3")["spec"]["template"]["spec"]["containers"]
    assert "darkroom-s3-keys" in str(pod)
