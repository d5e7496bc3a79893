"""With Redis the service account outlives its release: docs/decisions/0020."""

from __future__ import annotations

from typing import Any

import pytest
from tools import render

Values = dict[str, Any]
REDIS: Values = {"gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}}
GROUND: dict[str, Values] = {
    "darkroom-cluster": {},
    "darkroom-job": {"verb": "prepare", "recipe": "digits", "output": "s3://b/o"},
    "darkroom-service": {"models": ["s3://b/m"], "keys": {"secretName": "keys"}},
}
KEPT = {
    "helm.sh/resource-policy": "keep",
    "argocd.argoproj.io/sync-options": "Prune=false",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
}
each_chart = pytest.mark.parametrize("chart", GROUND)


def accounts(chart: str, *values: Values) -> list[dict[str, Any]]:
    given: Values = {}
    for each in (GROUND[chart], *values):
        given |= each
    return [item for item in render(chart, given) if item["kind"] == "ServiceAccount"]


def heads_account(item: dict[str, Any]) -> str:
    """Under which the operator's Job runs too: its pod is the head's."""
    spec = item["spec"]
    cluster = spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec
    return str(cluster["headGroupSpec"]["template"]["spec"]["serviceAccountName"])


@each_chart
def test_with_redis_the_heads_account_is_kept(chart: str) -> None:
    (account,) = accounts(chart, REDIS)
    assert account["metadata"]["annotations"] == KEPT
    kinds = ("RayCluster", "RayJob", "RayService")
    (ray,) = (item for item in render(chart, GROUND[chart] | REDIS) if item["kind"] in kinds)
    assert heads_account(ray) == account["metadata"]["name"]


@each_chart
def test_without_redis_it_goes_with_the_release(chart: str) -> None:
    (account,) = accounts(chart)
    assert "annotations" not in account["metadata"]


@each_chart
def test_your_own_annotations_stay_and_your_own_account_is_not_touched(chart: str) -> None:
    own = {"serviceAccount": {"annotations": {"a": "b"}}}
    (account,) = accounts(chart, REDIS, own)
    assert account["metadata"]["annotations"] == {"a": "b"} | KEPT
    assert not accounts(chart, REDIS, {"serviceAccount": {"create": False, "name": "own"}})


def test_only_the_account_is_kept() -> None:
    """All else goes: a policy that stayed would rule over whatever comes next."""
    for chart, ground in GROUND.items():
        for item in render(chart, ground | REDIS | {"networkPolicy": {"enabled": True}}):
            annotations = item["metadata"].get("annotations") or {}
            assert ("helm.sh/resource-policy" in annotations) == (item["kind"] == "ServiceAccount")
