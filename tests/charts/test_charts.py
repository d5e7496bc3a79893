"""The charts render what API server, operator and Darkroom's policies take, value by value."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import RenderError, operator_verdicts, render, render_text, schema_errors
from values_file import leaves, read_entries

from darkroom.cluster.rules import check_manifest

CHARTS = ROOT / "charts"
CI_FILES = sorted(CHARTS.glob("darkroom-*/ci/*.yaml"))
GROUND: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {},
    "darkroom-job": {"verb": "train", "output": "s3://b/run"},
    "darkroom-service": {"models": ["s3://b/m"], "keys": {"secretName": "keys"}},
}
Objects = list[dict[str, Any]]

each_ci_file = pytest.mark.parametrize(
    "path", CI_FILES, ids=[f"{path.parts[-3]}/{path.stem}" for path in CI_FILES]
)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def nested(dotted: str, value: Any) -> dict[str, Any]:
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return dict(value)


def lines(objects: Objects) -> set[str]:
    """Every value of every object as `Kind/name:path=value`; named list items go by their name."""
    found: set[str] = set()
    for item in objects:
        stem = f"{item['kind']}/{item['metadata']['name']}"
        _flatten(item, f"{stem}:", found)
    return found


def _flatten(node: Any, path: str, found: set[str]) -> None:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            _flatten(value, f"{path}{'' if path.endswith(':') else '.'}{key}", found)
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            key = index
            if re.search(r"\.(env|volumes|volumeMounts)$", path):
                key = value.get("mountPath") or value["name"]
            _flatten(value, f"{path}.{key}", found)
    else:
        found.add(f"{path}={node}")


def value_cases() -> list[tuple[str, str, dict[str, Any]]]:
    """Chart, dotted value and entry; what poolDefaults has is also tried on the pool."""
    cases = []
    for chart in GROUND:
        table = yaml.safe_load((CHARTS / chart / "tests" / "values.yaml").read_text())
        for dotted, entry in table.items():
            cases.append((chart, dotted, entry))
            if dotted.startswith("poolDefaults."):
                cases.append((chart, dotted.replace("poolDefaults", "pools.cpu"), entry))
    return cases


VALUE_CASES = value_cases()


@pytest.mark.parametrize(
    ("chart", "dotted", "entry"), VALUE_CASES, ids=[f"{c[0]}:{c[1]}" for c in VALUE_CASES]
)
def test_value_shows_when_set_and_only_then(chart: str, dotted: str, entry: dict[str, Any]) -> None:
    before_values = merged(GROUND[chart], entry.get("with", {}))
    after_values = merged(before_values, nested(dotted, entry["set"]))
    if "refused" in entry:
        render(chart, before_values)
        with pytest.raises(RenderError, match=re.escape(f"[{entry['refused']}]")):
            render(chart, after_values)
        return
    if "refusedBefore" in entry:
        with pytest.raises(RenderError, match=re.escape(f"[{entry['refusedBefore']}]")):
            render(chart, before_values)
        before: set[str] = set()
    else:
        before = lines(render(chart, before_values))
    after = lines(render(chart, after_values))
    for part in entry.get("shows", []):
        assert any(part in line for line in after - before), f"{part} does not appear"
    for part in entry.get("hides", []):
        assert any(part in line for line in before - after), f"{part} does not go"
        assert not any(part in line for line in after - before)


def test_every_value_has_an_entry() -> None:
    tried = {dotted for _, dotted, _ in VALUE_CASES}
    for chart in GROUND:
        documented = {leaf.dotted for leaf in leaves(read_entries(CHARTS / chart / "values.yaml"))}
        assert documented - tried == set()
    own = yaml.safe_load((CHARTS / "darkroom-cluster" / "tests" / "values.yaml").read_text())
    cluster = {
        leaf.dotted for leaf in leaves(read_entries(CHARTS / "darkroom-cluster/values.yaml"))
    }
    assert set(own) == cluster


@each_ci_file
def test_render_passes_schemas_rules_and_operator(path: Path) -> None:
    objects = render(path.parts[-3], files=[path])
    assert objects
    assert schema_errors(objects) == []
    assert [finding for item in objects for finding in check_manifest(item)] == []
    assert [verdict["error"] for verdict in operator_verdicts(objects) if verdict["error"]] == []


@each_ci_file
def test_helm_3_and_4_render_alike(path: Path) -> None:
    def stable(text: str) -> str:
        return re.sub(r"(AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY): )\S{20,}", r"\1random", text)

    chart = path.parts[-3]
    by_4, by_3 = (render_text(chart, files=[path], helm=helm) for helm in ("helm", "helm3"))
    assert stable(by_4) == stable(by_3)


@each_ci_file
def test_objects_are_namespaced_and_labelled(path: Path) -> None:
    for item in render(path.parts[-3], files=[path]):
        assert item["metadata"]["namespace"] == "darkroom"
        assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "darkroom"


def pods(node: Any) -> list[dict[str, Any]]:
    """Every pod spec in a manifest."""
    if isinstance(node, list):
        return [pod for item in node for pod in pods(item)]
    if not isinstance(node, dict):
        return []
    here = [node] if isinstance(node.get("containers"), list) else []
    return here + [pod for value in node.values() for pod in pods(value)]


@each_ci_file
def test_every_pod_passes_restricted_pod_security(path: Path) -> None:
    """The Pod Security Standard's list, and ours on top: read-only root, no API token."""
    objects = render(path.parts[-3], files=[path])
    found = pods(objects)
    contexts = [c["securityContext"] for pod in found for c in pod["containers"]]
    contexts += [
        spec["autoscalerOptions"]["securityContext"]
        for item in objects
        for spec in cluster_specs(item)
        if "autoscalerOptions" in spec
    ]
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        for volume in pod.get("volumes", []):
            assert {"emptyDir", "projected", "secret", "configMap"} & set(volume)
    for context in contexts:
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsUser"] > 0


def cluster_specs(item: dict[str, Any]) -> list[dict[str, Any]]:
    spec = item.get("spec", {})
    return [spec, spec.get("rayClusterSpec", {}), spec.get("rayClusterConfig", {})]


def ray_pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def ray_containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [template["spec"]["containers"][0] for template in ray_pods(spec)]


@pytest.mark.parametrize("mode", ["irsa", "podIdentity", "webIdentity", "secret", "anonymous"])
def test_s3_identity_is_the_same_on_head_workers_and_submitter(mode: str) -> None:
    identity = {"mode": mode, "roleArn": "arn:aws:iam::111122223333:role/x", "secretName": "keys"}
    values = GROUND["darkroom-job"] | {"s3": {"identity": identity}}
    values |= {"pools": {"second": {}, "third": {"gpus": 1}}}
    (job,) = (o for o in render("darkroom-job", values) if o["kind"] == "RayJob")
    containers = ray_containers(job["spec"]["rayClusterSpec"])
    containers += job["spec"]["submitterPodTemplate"]["spec"]["containers"]
    assert len(containers) == 5
    credentials = [
        {item["name"]: item for item in container["env"] if item["name"].startswith("AWS_")}
        for container in containers
    ]
    mounts = [
        [mount for mount in container["volumeMounts"] if mount["name"] == "s3-token"]
        for container in containers
    ]
    assert all(found == credentials[0] for found in credentials)
    assert all(found == mounts[0] for found in mounts)
    assert bool(mounts[0]) == (mode == "webIdentity")
    assert ("AWS_SECRET_ACCESS_KEY" in credentials[0]) == (mode == "secret")


def test_api_token_reaches_the_autoscaler_alone() -> None:
    (cluster,) = (o for o in render("darkroom-cluster") if o["kind"] == "RayCluster")
    spec = cluster["spec"]
    mounts = [mount["name"] for mount in spec["autoscalerOptions"]["volumeMounts"]]
    assert "kube-api-access" in mounts
    for container in ray_containers(spec):
        assert "kube-api-access" not in [mount["name"] for mount in container["volumeMounts"]]


def test_a_jobs_own_cluster_is_the_clusters_cluster() -> None:
    """The pod stands in one helper; a job's cluster differs from the chart's by names alone."""
    values = {"s3": {"region": "eu-west-1"}, "pools": {"gpu": {"gpus": 1, "spot": True}}}
    (cluster,) = (o for o in render("darkroom-cluster", values) if o["kind"] == "RayCluster")
    job_values = GROUND["darkroom-job"] | values
    (job,) = (o for o in render("darkroom-job", job_values) if o["kind"] == "RayJob")
    for spec, name in (
        (cluster["spec"], "darkroom"),
        (job["spec"]["rayClusterSpec"], "rayjob.darkroom"),
    ):
        for template in ray_pods(spec):
            assert template["metadata"]["labels"].pop("darkroom/cluster") == name
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


MISSPELT = [
    ("darkroom-cluster", {"pool": {}}),
    ("darkroom-cluster", {"image": {"repo": "x"}}),
    ("darkroom-cluster", {"s3": {"identity": {"roleARN": "x"}}}),
    ("darkroom-cluster", {"pools": {"cpu": {"minReplica": 1}}}),
    ("darkroom-cluster", {"pools": {"cpu": {"resources": {"request": {}}}}}),
    ("darkroom-cluster", {"pools": {"cpu": {"tolerations": [{"keys": "x"}]}}}),
    (
        "darkroom-cluster",
        {"networkPolicy": {"prometheus": {"from": [{"namespaceSelector": {"matchLabel": {}}}]}}},
    ),
    ("darkroom-job", {"recipes": "digits"}),
    ("darkroom-service", {"limits": {"max_image": 1}}),
    ("darkroom-service", {"loras": {"ink": {"model": "s3://b/ink", "weigth": 1}}}),
    ("darkroom-service", {"drawing": {"workers": {"num_workers": 2}}}),
    ("darkroom-service", {"http": {"autoscaling": {"max_replica": 2}}}),
    ("darkroom-job", {"cleanup": {"rules": {"onSuccess": {"clusters": 1}}}}),
]


@pytest.mark.parametrize(("chart", "values"), MISSPELT, ids=[json.dumps(m[1]) for m in MISSPELT])
def test_misspelt_key_is_refused(chart: str, values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match=r"additional properties|Additional property"):
        render(chart, merged(GROUND[chart], values))


@pytest.mark.parametrize("cpu", [None, {"enabled": False}])
def test_pools_can_be_taken_away(cpu: dict[str, Any] | None) -> None:
    (cluster,) = (
        o for o in render("darkroom-cluster", {"pools": {"cpu": cpu}}) if o["kind"] == "RayCluster"
    )
    assert cluster["spec"]["workerGroupSpecs"] == []


def test_name_hash_follows_the_spec_and_fits() -> None:
    values = GROUND["darkroom-job"] | {"nameHash": True, "fullnameOverride": "a" * 47}

    def name(**changes: Any) -> str:
        (job,) = (o for o in render("darkroom-job", values | changes) if o["kind"] == "RayJob")
        return str(job["metadata"]["name"])

    assert name() == name()
    assert len(name()) == 47
    assert name() != name(recipe="digits")
    assert name() != name(image={"tag": "9.9.9"})
    assert name() == name(commonLabels={}), "what does not change the spec keeps the name"


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    """Names are looked up where they are defined: Ray's panels, the operator's sources, ours."""
    import ray.dashboard.modules.metrics.dashboards as panels
    from testcluster.binaries import source_directory

    from darkroom.jobs.training.telemetry import METRICS

    operator = source_directory("KUBERAY")
    sources = [*Path(panels.__path__[0]).glob("*.py"), *(operator / "controllers").rglob("*.go")]
    known = set(
        re.findall(r"\b(?:ray|kuberay)_[a-z_0-9]+", "".join(p.read_text() for p in sources))
    )
    known |= {f"ray_{name}" for name in METRICS}
    text = render_text("darkroom-cluster", {"monitoring": {"enabled": True}})
    monitored = text[text.index("kuberay_job_deployment_status") :]
    queries = re.findall(r'(?:expr: |"expr": )(.*)', text)
    used = set(re.findall(r"\b(?:ray|kuberay)_[a-z_0-9]+(?=\{)", "\n".join(queries)))
    assert monitored
    assert len(used) > 10
    assert used - known == set()


def test_generated_files_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "hack" / "charts" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
