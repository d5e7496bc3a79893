"""The rules of queues are those of Kueue at the pinned version: its webhooks and its Workload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tests.charts.test_kuberay_rules import CASES
from tools import kueue_verdicts, render

from darkroom.cluster.queue_rules import QUEUE_LABEL
from darkroom.cluster.rules import check_manifest

QUEUED = [case for case in CASES if case["id"].startswith("queued")]
VALUES = sorted((ROOT / "charts").glob("*/ci/*.yaml"))


def test_kueue_gives_the_same_verdicts() -> None:
    """In one call: the program starts once and judges every case."""
    verdicts = kueue_verdicts(case["manifest"] for case in QUEUED)
    assert len(verdicts) == len(QUEUED)
    wrong = []
    for case, verdict in zip(QUEUED, verdicts, strict=True):
        refuses = bool(case["breaks"]) and case.get("kueue") != "accepts"
        if refuses != bool(verdict["error"]):
            wrong.append(f"{case['id']}: {verdict['error'] or 'accepted'}")
    assert wrong == []


def test_a_finding_that_refuses_is_one_that_kueue_has() -> None:
    """`source` tells submit what to refuse, so it must agree with the fixtures' `kueue`."""
    for case in QUEUED:
        if case["breaks"]:
            sources = {finding.source for finding in check_manifest(case["manifest"])}
            assert sources == {"darkroom" if case.get("kueue") == "accepts" else "api"}, case["id"]


QUEUE = {"kueue": {"queueName": "gpu"}}
JOB = {"verb": "train", "output": "s3://bucket/run"}
MANY: dict[str, Any] = {f"p{index}": {} for index in range(15)}
FIXED = {"autoscaler": {"enabled": False}, "pools": {"cpu": {"minReplicas": 1}}}
CHARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cluster": ("darkroom-cluster", {}),
    "cluster of a fixed size": ("darkroom-cluster", {"autoscaler": {"enabled": False}}),
    "cluster of many pools": ("darkroom-cluster", {"pools": MANY}),
    "job": ("darkroom-job", JOB),
    "job of a fixed size": ("darkroom-job", {**JOB, **FIXED}),
    "job without a submitter": ("darkroom-job", {**JOB, "submission": {"mode": "HTTPMode"}}),
    "job of many pools": ("darkroom-job", {**JOB, "pools": MANY}),
}


@pytest.mark.parametrize("name", CHARTS)
def test_kueue_takes_what_the_charts_render(name: str) -> None:
    """Without the help of its webhook that changes: an update has none."""
    chart, values = CHARTS[name]
    check(render(chart, {**values, **QUEUE}))


@pytest.mark.parametrize("path", VALUES, ids=[f"{p.parts[-3]} {p.stem}" for p in VALUES])
def test_kueue_takes_what_the_examples_render(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    objects = render(path.parts[-3], values)
    if values.get("kueue"):
        check(objects)


def of_a_schedule(item: dict[str, Any]) -> dict[str, Any]:
    """The RayJob from which a schedule makes its own; empty where there is none."""
    data = item.get("data", {}) if item["kind"] == "ConfigMap" else {}
    return dict(json.loads(data.get("rayjob.json", "{}")))


def check(objects: list[dict[str, Any]]) -> None:
    all_objects = [*objects, *map(of_a_schedule, objects)]
    queued = [o for o in all_objects if o and QUEUE_LABEL in (o["metadata"].get("labels") or {})]
    assert queued
    assert [verdict["error"] for verdict in kueue_verdicts(queued) if verdict["error"]] == []
    assert [finding for item in queued for finding in check_manifest(item)] == []
