"""The real API server takes every chart, with all example values, and every kustomization."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcluster.client import Kubectl
from testcluster.settings import PROJECT

Objects = list[dict[str, Any]]
MANIFESTS = PROJECT / "manifests"
CI_VALUES = sorted((PROJECT / "charts").glob("darkroom-*/ci/*.yaml"))
# What the API server knows without more controllers; the rest is held to its CRD's schema by
# tests/charts.
SERVED = {"", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "ray.io"}


def _served(text: str) -> Objects:
    items = [item for item in yaml.safe_load_all(text) if item]
    return [item for item in items if "/" not in item["apiVersion"] or _group(item) in SERVED]


def _group(item: dict[str, Any]) -> str:
    return str(item["apiVersion"]).split("/", maxsplit=1)[0]


def _dry_run(namespace: Kubectl, objects: Objects) -> None:
    for item in objects:
        item["metadata"].pop("namespace", None)
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    done = namespace.run(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f-", stdin=listed
    )
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "PodSecurity" in line]
    assert not warnings


@pytest.mark.parametrize(
    "values", CI_VALUES, ids=[f"{path.parts[-3]}/{path.stem}" for path in CI_VALUES]
)
def test_charts_are_taken(values: Path, namespace: Kubectl) -> None:
    rendered = namespace.template("darkroom", values.parents[1], f"--values={values}")
    objects = _served(rendered)
    assert objects
    # Pods, such as those of `helm test`, are admitted only when their service account is there.
    if accounts := [item for item in objects if item["kind"] == "ServiceAccount"]:
        namespace.apply(*accounts)
    _dry_run(namespace, objects)


def test_kustomizations_are_taken(namespace: Kubectl) -> None:
    folders = [
        path.parent
        for path in sorted(MANIFESTS.rglob("kustomization.yaml"))
        if yaml.safe_load(path.read_text())["kind"] == "Kustomization"
        and not _needs_a_pinned_image(path.parent)
    ]
    assert len(folders) > 20
    objects: Objects = []
    for folder in folders:
        done = namespace.run("kustomize", str(folder))
        assert done.returncode == 0, f"{folder}: {done.stderr}"
        objects += _served(done.stdout)
    # All at once, and so in seconds: a dry run creates nothing, so names may occur twice.
    _dry_run(namespace, objects)


def _needs_a_pinned_image(folder: Path) -> bool:
    """Production's jobs render only with one: tests/charts pins it and checks them."""
    return "production" in folder.parts and (MANIFESTS / "base" / folder.name).is_dir()
