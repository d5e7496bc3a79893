"""Values files of people who run KubeRay elsewhere render to what is right, or are refused by name.

Each file is rendered by both Helms, read without duplicate keys, built by kustomize, and judged by
kubeconform, the operator and Darkroom's rules. What is right of each stands in RIGHT.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import (
    RenderError,
    StrictLoader,
    kustomize,
    operator_verdicts,
    render,
    render_text,
    schema_errors,
)

from darkroom.cluster.rules import check_manifest

FILES = ROOT / "tests" / "fixtures" / "values_of_others"
GROUND: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {},
    "darkroom-job": {"verb": "train", "output": "s3://b/run"},
}
# File -> charts, then the refusal, or what the render must hold, by the paths of Rendered.at.
CLUSTER, JOB = "darkroom-cluster", "darkroom-job"
RIGHT: dict[str, tuple[list[str], str | dict[str, Any]]] = {
    "common-labels-recommended": ([CLUSTER, JOB], {"head.metadata.labels.cost-center": "4711"}),
    "pod-label-override": (
        [CLUSTER, JOB],
        {"head.metadata.labels.team": "platform", "0.metadata.labels.team": "vision"},
    ),
    "kueue-autoscaled": ([CLUSTER, JOB], {}),
    "openshift-dns": ([CLUSTER, JOB], {"dns": 5353}),
    "gpu-in-resources": (
        [CLUSTER, JOB],
        {
            "1.params.num-gpus": "1",
            "1.params.num-cpus": "0",
            "1.spec.tolerations.0.key": "nvidia.com/gpu",
        },
    ),
    "job-cleanup-14d": (
        [JOB],
        {"job.deletionStrategy.deletionRules.1.condition.ttlSeconds": 1209600},
    ),
    "null-defaults": ([CLUSTER, JOB], "missing property 'operatorFrom'"),
    "kuberay-1.4": ([CLUSTER, JOB], "[kuberay-version]"),
    "runtimeclass": ([CLUSTER, JOB], {"1.spec.runtimeClassName": "nvidia"}),
    "deckhouse-gpu": (
        [CLUSTER, JOB],
        {
            "1.spec.initContainers.0.name": "fix-permissions",
            "1.spec.initContainers.0.securityContext.runAsNonRoot": True,
            "1.spec.volumes.1.persistentVolumeClaim.claimName": "model-cache-pvc",
            "1.spec.containers.0.volumeMounts.1.mountPath": "/data/model-cache",
            "1.spec.nodeSelector.node~deckhouse~io/group": "w-gpu",
        },
    ),
    "env-valuefrom": ([CLUSTER, JOB], {"env": {"name": "pypi", "key": "token"}}),
    "submitter-placement": (
        [JOB],
        {
            "submitter.spec.nodeSelector.kubernetes~io/hostname": "node-a",
            "submitter.spec.tolerations.0.key": "dedicated",
        },
    ),
    "istio": (
        [JOB],
        {
            f"{pod}.metadata.annotations.sidecar~istio~io/inject": "false"
            for pod in ("head", "0", "submitter")
        },
    ),
    "eks-irsa-existing-sa": ([CLUSTER, JOB], {"head.spec.serviceAccountName": "s3"}),
    "proxy": ([CLUSTER, JOB], {"env": None}),
}
CASES = [(name, chart) for name, (charts, _) in RIGHT.items() for chart in charts]
each_case = pytest.mark.parametrize(("name", "chart"), CASES, ids=[f"{n}-{c}" for n, c in CASES])
# Images of other people, which they name as they like.
THEIRS = {"image-tag-latest"}


def test_every_file_is_tried() -> None:
    assert {path.stem for path in FILES.glob("*.yaml")} == set(RIGHT)


@each_case
def test_file(name: str, chart: str, tmp_path: Path) -> None:
    right = RIGHT[name][1]
    file = FILES / f"{name}.yaml"
    if isinstance(right, str):
        for helm in ("helm", "helm3"):
            with pytest.raises(RenderError) as refused:
                render(chart, GROUND[chart], files=[file], helm=helm)
            assert right in str(refused.value)
        return
    text = render_text(chart, GROUND[chart], files=[file])
    objects = [item for item in yaml.load_all(text, Loader=StrictLoader) if item]
    found = Rendered(objects)
    for path, value in right.items():
        assert found.at(path) == value, path
    assert schema_errors(objects) == []
    findings = [finding for item in objects for finding in check_manifest(item)]
    assert [finding for finding in findings if finding.rule not in THEIRS] == []
    assert [verdict["error"] for verdict in operator_verdicts(objects) if verdict["error"]] == []
    kustomized(text, tmp_path)
    assert render_text(chart, GROUND[chart], files=[file], helm="helm3") == text


def kustomized(text: str, folder: Path) -> None:
    """It refuses keys that stand twice, and objects of one name."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not built: make charts-tools")
    (folder / "all.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    kustomize(folder)


class Rendered:
    """Parts of a render by short names."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        (self.whole,) = (o["spec"] for o in objects if o["kind"] in ("RayCluster", "RayJob"))
        self.objects = objects
        self.cluster = self.whole.get("rayClusterSpec", self.whole)

    def at(self, path: str) -> Any:
        """`dns` and `env` are questions of their own; `~` stands for a dot within a key."""
        if path == "dns":
            return min(max(ports) for ports in self.dns_ports())
        if path == "env":
            return self.token()
        head, *rest = path.split(".")
        node = self.part(head)
        if rest[0] == "params":
            node, rest = self.cluster["workerGroupSpecs"][int(head)]["rayStartParams"], rest[1:]
        for key in rest:
            node = node[int(key)] if isinstance(node, list) else node[key.replace("~", ".")]
        return node

    def part(self, name: str) -> Any:
        if name == "job":
            return self.whole
        if name == "submitter":
            return self.whole["submitterPodTemplate"]
        if name == "head":
            return self.cluster["headGroupSpec"]["template"]
        return self.cluster["workerGroupSpecs"][int(name)]["template"]

    def dns_ports(self) -> list[list[int]]:
        """Of every policy that lets pods out to DNS, of Ray pods and of submitters."""
        found = [
            [port["port"] for port in rule["ports"]]
            for item in self.objects
            if item["kind"] == "NetworkPolicy"
            for rule in item["spec"].get("egress", [])
            if "openshift-dns" in str(rule["to"])
        ]
        assert len(found) == 2
        return found

    def token(self) -> Any:
        """The Secret that PIP_INDEX_TOKEN comes from, of the head's container."""
        env = self.part("head")["spec"]["containers"][0]["env"]
        return next(
            (e["valueFrom"]["secretKeyRef"] for e in env if e["name"] == "PIP_INDEX_TOKEN"), None
        )


def test_a_proxy_leaves_the_heads_address_alone() -> None:
    """`helm test` asks for a name below NO_PROXY, as the operator does for a job's submitter."""
    objects = render("darkroom-cluster", files=[FILES / "proxy.yaml"])
    (test,) = (o for o in objects if o["metadata"]["name"] == "darkroom-test-head")
    (container,) = test["spec"]["containers"]
    (exempt,) = (e["value"] for e in container["env"] if e["name"] == "NO_PROXY")
    host = container["args"][1].split("/")[2].split(":")[0]
    assert any(host.endswith(suffix) for suffix in exempt.split(","))
