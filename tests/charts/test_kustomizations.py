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
        images = text.count(f'"registry.example.com/darkroom@{DIGEST}"')
        assert text.count('"image"') == images == (2 if path.name == "serve" else 1)


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
        assert {path.name for path in verbs(environment)} == offered | {"serve"}


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


SERVICE: dict[str, Any] = {
    "models": ["s3://$(DARKROOM_BUCKET)/digits/model"],
    "keys": {"secretName": "api-keys"},
    "serviceAccount": {"create": False, "name": "darkroom"},
    "env": {"DARKROOM_BUCKET": "darkroom"},
    "pools": {"cpu": {"minReplicas": 2, "maxReplicas": 4}},
}
"""Values by which the chart darkroom-service makes the objects of manifests/base/serve."""
HELMS = ("instance", "name", "version", "managed-by")


def by_name(objects: Objects) -> dict[tuple[str, str], Any]:
    """Without what only Helm writes; environments in one order, Serve's settings as values."""
    found = {}
    for item in objects:
        metadata = item["metadata"]
        metadata.pop("namespace", None)
        without_helms(item)
        if item["kind"] == "RayService":
            spec = item["spec"]
            spec["serveConfigV2"] = yaml.safe_load(spec["serveConfigV2"])
            for container in containers(spec):
                container["env"] = sorted(container["env"], key=lambda each: each["name"])
        found[item["kind"], metadata["name"]] = item
    return found


def without_helms(node: Any) -> None:
    for value in node if isinstance(node, list) else []:
        without_helms(value)
    if isinstance(node, dict):
        for key in ("helm.sh/chart", *(f"app.kubernetes.io/{name}" for name in HELMS)):
            node.get("labels", {}).pop(key, None)
        for value in node.values():
            without_helms(value)


def sorted_lists(node: Any) -> Any:
    """Volumes and mounts are the same in any order."""
    if isinstance(node, list):
        lists = map(sorted_lists, node)
        return sorted(lists, key=lambda each: json.dumps(each, sort_keys=True))
    return {k: sorted_lists(v) for k, v in node.items()} if isinstance(node, dict) else node


def test_the_service_is_the_charts_service() -> None:
    """It has two homes, one for kubectl and one for Helm: they must not drift apart."""
    charted = by_name(render("darkroom-service", SERVICE, release="draw"))
    plain = by_name(kustomize(MANIFESTS / "base" / "serve"))
    assert plain.keys() == charted.keys()
    for name, item in plain.items():
        assert sorted_lists(item) == sorted_lists(charted[name])


def test_overlays_give_the_service_their_bucket_region_and_keys() -> None:
    def environment(path: str) -> list[dict[str, Any]]:
        (item,) = (o for o in kustomize(MANIFESTS / path) if o["kind"] == "RayService")
        cluster = item["spec"]["rayClusterConfig"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        lists = [group["template"]["spec"]["containers"][0]["env"] for group in groups]
        assert [[e["name"] for e in env[:2]] for env in lists] == [
            ["DARKROOM_BUCKET", "AWS_REGION"]
        ] * 2
        return [{each["name"]: each for each in env} for env in lists]

    for env in environment("overlays/staging/serve"):
        assert env["DARKROOM_BUCKET"]["value"] == "darkroom-staging"
        assert env["AWS_REGION"]["value"] == "eu-central-1"
    for env in environment("overlays/dev/serve"):
        assert env["AWS_ENDPOINT_URL_S3"]["value"] == "http://darkroom-s3.darkroom-dev.svc:8333"
        assert "secretKeyRef" in env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_service_values_render(environment: str) -> None:
    values = MANIFESTS / "overlays" / environment / "values" / "service-values.yaml"
    check(render("darkroom-service", files=[values], release="draw"))


def test_production_service_values_render_with_a_digest() -> None:
    values = MANIFESTS / "overlays" / "production" / "values" / "service-values.yaml"
    with pytest.raises(RenderError, match="image-digest-required"):
        render("darkroom-service", files=[values], release="draw")
    check(render("darkroom-service", {"image": {"digest": DIGEST}}, files=[values], release="draw"))
