"""What Flux and Argo CD make of real objects' states, by the engines that they use.

The states of clusters and jobs are what KubeRay wrote in end-to-end runs, kept in
tests/fixtures/kuberay_status with the specs cut to what no check reads. Those of a RayService are
written by hand, after `calculateStatus` and `calculateConditions` of KubeRay 1.6.1.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import answer, kustomize

CAPTURED = ROOT / "tests" / "fixtures" / "kuberay_status"
ARGO = ROOT / "manifests" / "clusters" / "argocd-health.yaml"
ENVIRONMENTS = ("dev", "staging", "production")
# File of the captured object -> Argo CD's word, and which of Flux's expressions holds.
EXPECTED = {
    "raycluster-starting": ("Progressing", None),
    "raycluster-ready": ("Healthy", "current"),
    "raycluster-head-lost": ("Progressing", None),
    "rayjob-initializing": ("Progressing", None),
    "rayjob-running": ("Healthy", "current"),
    "rayjob-succeeded": ("Healthy", "current"),
    "rayjob-failed": ("Degraded", "failed"),
    "rayservice-starting": ("Progressing", None),
    "rayservice-deploying": ("Progressing", None),
    "rayservice-ready": ("Healthy", "current"),
    "rayservice-changed": ("Progressing", None),
    "rayservice-updating": ("Progressing", None),
    "rayservice-upgrading": ("Progressing", None),
    "rayservice-failed": ("Degraded", "failed"),
    "rayservice-no-endpoints": ("Degraded", None),
    "rayservice-refused": ("Degraded", "failed"),
    "rayservice-mended": ("Progressing", None),
    "rayservice-given-up": ("Degraded", "failed"),
}
SYNCED = {"sync": {"status": "Synced"}, "operationState": {"phase": "Succeeded"}}

each_state = pytest.mark.parametrize("name", EXPECTED)


def captured(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CAPTURED / f"{name}.json").read_text())
    return found


@each_state
def test_argo_cd(name: str) -> None:
    item = captured(name)
    scripts = yaml.safe_load(ARGO.read_text())["data"]
    script = scripts[f"resource.customizations.health.ray.io_{item['kind']}"]
    health = answer("gitops-health", object=item, lua=script)
    assert health["status"] == EXPECTED[name][0]
    if name == "rayjob-failed":
        assert item["status"]["message"] in health["message"]
    if name == "rayservice-failed":
        assert "darkroom: DEPLOY_FAILED: Deploying app" in health["message"]


@each_state
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_flux(name: str, environment: str) -> None:
    item = captured(name)
    expressions = flux_expressions(environment)[item["kind"]]
    holds = {
        word
        for word in ("current", "failed")
        if answer("gitops-health", object=item, cel=expressions[word])
    }
    expected = EXPECTED[name][1]
    assert holds == ({expected} if expected else set())


def condition(kind: str, status: str, reason: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason}


STALLED = condition("Stalled", "True", "RetriesExceeded")
# Conditions of a release of generation 2, the generation they are of, which expression holds.
RELEASES = [
    ([], None, None),
    ([condition("Ready", "Unknown", "Progressing")], 2, None),
    ([condition("Ready", "True", "UpgradeSucceeded")], 2, "current"),
    ([condition("Ready", "True", "InstallSucceeded")], 1, None),
    ([condition("Ready", "False", "ArtifactFailed")], 2, None),
    ([condition("Ready", "False", "InstallFailed")], 2, "failed"),
    ([condition("Ready", "False", "UpgradeFailed")], 2, "failed"),
    ([condition("Ready", "False", "RollbackSucceeded"), STALLED], 2, "failed"),
]


@pytest.mark.parametrize(("conditions", "generation", "expected"), RELEASES)
def test_flux_of_a_release(
    conditions: list[dict[str, str]], generation: int | None, expected: str | None
) -> None:
    """By the states of helm-controller 1.4: one that failed is told at once, though it retries."""
    status: dict[str, Any] = {"conditions": conditions} if conditions else {}
    if generation is not None:
        status["observedGeneration"] = generation
    item = {"kind": "HelmRelease", "metadata": {"generation": 2}, "status": status}
    expressions = flux_expressions("dev")["HelmRelease"]
    holds = {
        word
        for word in ("current", "failed")
        if answer("gitops-health", object=item, cel=expressions[word])
    }
    assert holds == ({expected} if expected else set())


def flux_expressions(environment: str) -> dict[str, dict[str, str]]:
    """Kind -> expressions, of every Flux Kustomization of an environment; all must agree."""
    found: dict[str, dict[str, str]] = {}
    flux = ARGO.parent / environment / "flux"
    for item in [*kustomize(flux), *kustomize(flux / "serve")]:
        for check in (item.get("spec") or {}).get("healthCheckExprs") or []:
            words = {word: check[word] for word in ("current", "failed")}
            assert found.setdefault(check["kind"], words) == words
    return found


@pytest.mark.parametrize("status", ["Healthy", "Progressing", "Degraded", None])
def test_argo_cd_of_an_application(status: str | None) -> None:
    """By this a parent waits from one sync wave to the next."""
    item = {"status": {"health": {"status": status}, **SYNCED}} if status else {"spec": {}}
    assert of_application(item) == {"status": status or "Progressing", "message": ""}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(None, "Progressing"), ("Running", "Progressing"), ("Failed", "Healthy")],
)
def test_argo_cd_of_an_application_amid_its_sync(operation: str | None, expected: str) -> None:
    """Healthy by what is there already. One whose sync is over is not held for what is left."""
    status: dict[str, Any] = {"health": {"status": "Healthy"}, "sync": {"status": "OutOfSync"}}
    if operation:
        status["operationState"] = {"phase": operation, "message": "one more object"}
    health = of_application({"status": status})
    assert health["status"] == expected
    if operation == "Running":
        assert health["message"] == "one more object"


def of_application(item: dict[str, Any]) -> Any:
    script = yaml.safe_load(ARGO.read_text())["data"]
    script = script["resource.customizations.health.argoproj.io_Application"]
    return answer("gitops-health", object=item, lua=script)
