"""Every kustomization renders to what the schemas, the operator and Darkroom's rules take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import RenderError, kustomize, operator_verdicts, render, schema_errors

from darkroom.cluster.rules import check_manifest

MANIFESTS = ROOT / "manifests"
DIGEST = "sha256:" + "0123456789abcdef" * 4
Objects = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _kubectl() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on PATH: its kustomize renders the manifests")


def kustomizations() -> list[Path]:
    return sorted(
        path.parent
        for path in MANIFESTS.rglob("kustomization.yaml")
        if yaml.safe_load(path.read_text())["kind"] == "Kustomization"
    )


def verbs(environment: str) -> list[Path]:
    return [path for path in kustomizations() if path.parent.name == environment and _is_verb(path)]


def _is_verb(path: Path) -> bool:
    return (MANIFESTS / "base" / path.name).is_dir()


PLAIN = [path for path in kustomizations() if "production" not in path.parts or not _is_verb(path)]


@pytest.mark.parametrize("path", PLAIN, ids=[str(path.relative_to(MANIFESTS)) for path in PLAIN])
def test_kustomization_passes(path: Path) -> None:
    check(kustomize(path))


def check(objects: Objects) -> None:
    assert objects
    assert schema_errors(objects) == []
    assert [finding for item in objects for finding in check_manifest(item)] == []
    assert [verdict["error"] for verdict in operator_verdicts(objects) if verdict["error"]] == []


def test_files_outside_kustomizations_pass() -> None:
    files = [
        *(MANIFESTS / "infrastructure/capacity").glob("*.yaml"),
        MANIFESTS / "clusters/argocd-health.yaml",
    ]
    check([item for path in files for item in yaml.safe_load_all(path.read_text())])


def test_production_renders_only_with_a_pinned_image(tmp_path: Path) -> None:
    copy = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    train = copy / "overlays" / "production" / "train"
    pinned = copy / "overlays" / "production" / "pinned-image" / "kustomization.yaml"
    shutil.rmtree(pinned.parent, ignore_errors=True)
    with pytest.raises(RenderError, match="pinned-image"):
        kustomize(train)

    def pin(image: str) -> int:
        command = [sys.executable, str(ROOT / "hack/charts/pin.py"), image, str(pinned)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert pin("registry.example.com/darkroom:1.0") == 2
    assert not pinned.exists()
    assert pin(f"registry.example.com/darkroom@{DIGEST}") == 0
    for path in verbs("production"):
        objects = kustomize(copy / path.relative_to(MANIFESTS))
        check(objects)
        text = json.dumps(objects)
        assert text.count('"image"') == text.count(f'"registry.example.com/darkroom@{DIGEST}"') == 1


def containers(node: Any) -> Objects:
    """Containers, and the autoscaler's options, which are one."""
    if isinstance(node, list):
        return [found for item in node for found in containers(item)]
    if not isinstance(node, dict):
        return []
    here = list(node.get("containers") or [])
    here += [node["autoscalerOptions"]] if "autoscalerOptions" in node else []
    return here + [found for value in node.values() for found in containers(value)]


def test_dev_fits_a_small_node() -> None:
    values = MANIFESTS / "overlays" / "dev" / "values" / "cluster-values.yaml"
    objects = render("darkroom-cluster", files=[values])
    objects += [item for path in verbs("dev") for item in kustomize(path)]
    found = containers(objects)
    assert len(found) >= 10
    for container in found:
        resources = container["resources"]
        assert "cpu" not in resources["limits"]
        text = resources["requests"]["cpu"]
        assert text.endswith("m")
        assert Decimal(text[:-1]) <= 150


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_cluster_values_render(environment: str) -> None:
    values = MANIFESTS / "overlays" / environment / "values" / "cluster-values.yaml"
    check(render("darkroom-cluster", files=[values]))


def test_production_values_render_with_a_digest() -> None:
    values = MANIFESTS / "overlays" / "production" / "values" / "cluster-values.yaml"
    check(render("darkroom-cluster", {"image": {"digest": DIGEST}}, files=[values]))


def test_every_environment_has_every_verb_of_the_chart() -> None:
    schema = json.loads((ROOT / "charts/darkroom-job/values.schema.json").read_text())
    offered = {verb for verb in schema["properties"]["verb"]["enum"] if verb}
    for environment in ("dev", "staging", "production"):
        assert {path.name for path in verbs(environment)} == offered


def test_submitter_is_the_charts_submitter() -> None:
    """The pod has two homes, one for kubectl and one for Helm: they must not drift apart."""
    values: dict[str, Any] = {"verb": "train", "output": "s3://b/x"}
    values |= {"clusterSelector": "darkroom"}
    values |= {"serviceAccount": {"create": False, "name": "darkroom"}}
    (charted,) = (o for o in render("darkroom-job", values) if o["kind"] == "RayJob")
    (plain,) = kustomize(MANIFESTS / "base" / "train")
    ours, theirs = (job["spec"]["submitterPodTemplate"] for job in (plain, charted))
    del theirs["metadata"]["labels"]["app.kubernetes.io/instance"]
    for template in (ours, theirs):
        (container,) = template["spec"]["containers"]
        container["env"] = [
            e for e in container["env"] if not e["name"].startswith(("AWS_", "DARK"))
        ]
    assert ours == theirs
    assert plain["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["env"]


def test_overlays_replace_the_bucket_and_nothing_by_accident() -> None:
    """They patch the first variable by its place in the list."""
    (plain,) = kustomize(MANIFESTS / "base" / "train")
    assert plain["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["env"][0] == {
        "name": "DARKROOM_BUCKET",
        "value": "darkroom",
    }
    (staged,) = kustomize(MANIFESTS / "overlays" / "staging" / "train")
    assert staged["spec"]["submitterPodTemplate"]["spec"]["containers"][0]["env"][0] == {
        "name": "DARKROOM_BUCKET",
        "value": "darkroom-staging",
    }
