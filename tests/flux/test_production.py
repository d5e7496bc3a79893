"""Production from an empty cluster, before and after it is pinned, and its removal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from testcluster import flux
from testcluster.settings import PROJECT
from tests.helpers.flux_entry import KIND, FluxEntry, new_flux_entry
from tests.helpers.flux_release import NAME, FluxRelease

NAMESPACE = "darkroom"
IMAGE = "registry.example.com/darkroom@sha256:" + "0123456789abcdef" * 4
OPERATORS = ["infrastructure-controllers", "infrastructure-configs"]


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory, programs: None) -> Iterator[FluxEntry]:
    with new_flux_entry(tmp_path_factory.mktemp("production")) as found:
        yield found


def test_production_waits_for_its_image_and_leaves_operators_and_jobs(
    production: FluxEntry,
) -> None:
    """One test, for each step stands on the one before."""
    until, release = production.flux.until, FluxRelease(production.flux, NAMESPACE)
    names = production.begin_cluster("production")
    assert {*OPERATORS, "darkroom"} == {*names}
    until("the operators", lambda: all(map(production.is_ready, OPERATORS)), seconds=420)
    # Without a digest nothing is installed, and the release says what is missing.
    until(
        "the refusal",
        lambda: "image-digest-required" in release.condition("Ready").get("message", ""),
    )
    assert not production.flux.get("raycluster", NAME, NAMESPACE)

    component = "manifests/overlays/production/pinned-image/kustomization.yaml"
    place = production.repository.checkout / component
    pin = [sys.executable, str(PROJECT / "hack/charts/pin.py"), IMAGE, str(place)]
    subprocess.run(pin, check=True)
    production.reaches(production.repository.commit("pinned"), "darkroom")
    until("the release", release.is_ready)
    spec = release.kubectl.get("raycluster", NAME)["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
    assert images == {IMAGE}
    assert spec["headGroupSpec"]["template"]["spec"]["priorityClassName"] == "darkroom-head"
    assert release.kubectl.get("podmonitor", NAME)

    # With its Kustomization goes what it brought, but not the namespace, where people's keys are.
    release.kubectl("create", "secret", "generic", "api-keys", "--from-literal=team-a=0123456789")
    ours = production.cluster.within(flux.NAMESPACE)
    ours("delete", KIND, "darkroom", timeout=180)
    until("the cluster gone", lambda: not production.flux.get("raycluster", NAME, NAMESPACE))
    until("the queue gone", lambda: not production.flux.get("localqueue", "gpu", NAMESPACE))
    assert release.kubectl.get("secret", "api-keys")
    assert "deletionTimestamp" not in production.cluster.get("namespace", NAMESPACE)["metadata"]
    # Operators and their kinds stay in any case: a kind that goes takes every job along.
    ours("delete", KIND, *OPERATORS, timeout=180)
    production.cluster("get", "rayjobs", "--all-namespaces")
    assert production.flux.get("helmrelease", "kuberay", "kuberay-system")
