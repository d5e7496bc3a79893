"""Fields of a pod and its container pass through, merged, in every section that takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from schemas import ROOT, MissingToolError
from tools import RenderError, operator_verdicts, render, schema_errors

Objects = list[dict[str, Any]]
JOB: dict[str, Any] = {"verb": "train", "output": "s3://b/run"}
SIDECAR = {"name": "log", "image": "fluent-bit:3.2", "securityContext": {"runAsUser": 2}}
ROOT_INIT = {"name": "own", "image": "busybox:1.37", "securityContext": {"runAsUser": 0}}
FIELDS: dict[str, Any] = {
    "runtimeClassName": "nvidia",
    "schedulerName": "volcano",
    "priorityClassName": "high",
    "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["s3.corp"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.10"]},
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "imagePullSecrets": [{"name": "own"}],
    "podSecurityContext": {"fsGroupChangePolicy": "OnRootMismatch"},
    "volumes": [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "tmp", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ],
    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    "envFrom": [{"configMapRef": {"name": "more"}}],
    "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
    "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
    "resources": {
        "requests": {"cpu": 2, "memory": "4Gi"},
        "limits": {"memory": "8Gi"},
        "claims": [{"name": "gpu"}],
    },
    "initContainers": [ROOT_INIT],
    "sidecars": [SIDECAR],
    "image": {"tag": "7.7.7"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
}


def templates(objects: Objects) -> dict[str, dict[str, Any]]:
    """Pod templates by the section of values that they come of."""
    found: dict[str, dict[str, Any]] = {}
    for item in objects:
        spec = item.get("spec", {})
        cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        if "headGroupSpec" in cluster:
            found["head"] = cluster["headGroupSpec"]["template"]
            found |= {g["groupName"]: g["template"] for g in cluster["workerGroupSpecs"]}
        if "submitterPodTemplate" in spec:
            found["submission"] = spec["submitterPodTemplate"]
        if item["kind"] == "StatefulSet":
            found["devS3"] = spec["template"]
        if item["metadata"]["name"].endswith("-test-head"):
            found["helmTest"] = item
    return found


CASES = [
    ("darkroom-cluster", ("head", "pools", "helmTest", "devS3")),
    ("darkroom-job", ("head", "pools", "submission")),
    ("darkroom-service", ("head", "pools")),
]


@pytest.mark.parametrize(("chart", "sections"), CASES, ids=[case[0] for case in CASES])
def test_every_field_reaches_its_pod(chart: str, sections: tuple[str, ...]) -> None:
    values: dict[str, Any] = dict.fromkeys(sections, FIELDS) | {"pools": {"cpu": FIELDS}}
    values |= {
        "darkroom-cluster": {"devS3": FIELDS | {"enabled": True}},
        "darkroom-job": JOB,
        "darkroom-service": {"models": ["s3://b/m"], "keys": {"secretName": "keys"}},
    }[chart]
    values |= {"env": {"ALL": "x"}, "envFrom": [{"secretRef": {"name": "all"}}]}
    values |= {"image": {"pullSecrets": [{"name": "registry"}]}}
    objects = render(chart, values)
    assert schema_errors(objects) == []
    assert [verdict["error"] for verdict in operator_verdicts(objects) if verdict["error"]] == []
    found = templates(objects)
    assert set(found) == {"cpu" if name == "pools" else name for name in sections}
    for section, template in found.items():
        check(template, is_ray=section in ("head", "cpu"))
        if section in ("head", "cpu"):
            command = template["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            drains = chart == "darkroom-service" or section == "cpu"
            ends = ["python", "-c"] if drains else ["ray", "stop"]
            assert command[:2] == ends


def check(template: dict[str, Any], *, is_ray: bool) -> None:
    pod = template["spec"]
    for name in ("runtimeClassName", "schedulerName", "hostAliases", "dnsConfig", "affinity"):
        assert pod[name] == FIELDS[name]
    assert template["metadata"]["annotations"].items() >= FIELDS["podAnnotations"].items()
    assert pod["tolerations"] == FIELDS["tolerations"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "own"}]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert pod["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert len(volumes) == len(pod["volumes"])
    assert "ephemeral" in volumes["tmp"], "the more special volume is the one"
    assert "persistentVolumeClaim" in volumes["models"]
    ours, sidecar = pod["containers"]
    assert ours["image"].endswith(":7.7.7")
    mounts = [mount["mountPath"] for mount in ours["volumeMounts"]]
    assert "/models" in mounts
    assert len(mounts) == len(set(mounts))
    env = {item["name"]: item for item in ours["env"]}
    assert len(env) == len(ours["env"])
    assert "valueFrom" in env["NODE"]
    assert {"postStart"} <= set(ours["lifecycle"])
    assert ours["resources"]["claims"] == FIELDS["resources"]["claims"]
    assert ours["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    if is_ray:
        assert ours["envFrom"] == [{"secretRef": {"name": "all"}}, *FIELDS["envFrom"]]
        assert env["ALL"]["value"] == "x"
    restricted = ours["securityContext"]
    assert restricted["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    assert restricted["readOnlyRootFilesystem"] is True
    assert sidecar["securityContext"]["runAsUser"] == 2
    assert sidecar["securityContext"]["allowPrivilegeEscalation"] is False
    (init,) = pod["initContainers"]
    assert init["securityContext"]["runAsUser"] == 0
    assert init["securityContext"]["runAsNonRoot"] is False, "else the kubelet refuses to start it"
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}


REFUSED_FIELDS = ("hostNetwork", "containers", "serviceAccountName", "automountServiceAccountToken")


def test_what_would_open_the_pod_is_no_value() -> None:
    schema = json.loads((ROOT / "charts/darkroom-cluster/values.schema.json").read_text())
    assert not set(REFUSED_FIELDS) & set(schema["$defs"]["pool"]["properties"])
    pools = {"cpu": {"hostNetwork": True}}
    with pytest.raises(RenderError, match="additional properties 'hostNetwork'"):
        render("darkroom-cluster", {"pools": pools})


def test_environments_merge_whatever_their_form() -> None:
    values = {
        "env": [{"name": "A", "value": "all"}, {"name": "B", "value": "$(A)"}],
        "poolDefaults": {"env": {"C": "defaults", "D": "defaults"}},
        "pools": {"cpu": {"env": [{"name": "C", "value": "pool"}]}},
        "head": {"env": {"A": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}},
    }
    found = templates(render("darkroom-cluster", values))

    def env(section: str) -> dict[str, Any]:
        items = found[section]["spec"]["containers"][0]["env"]
        names = [item["name"] for item in items]
        assert len(names) == len(set(names))
        assert names.index("A") < names.index("B"), "$(A) needs A before it"
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in items}

    assert env("cpu").items() >= {"A": "all", "B": "$(A)", "C": "pool", "D": "defaults"}.items()
    assert env("head")["A"] == {"secretKeyRef": {"name": "s", "key": "k"}}


DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_image_of_a_group() -> None:
    values: dict[str, Any] = {
        "image": {"repository": "r.example.com/darkroom", "digest": DIGEST},
        "pools": {
            "cpu": {},
            "tag": {"image": {"tag": "1.0-cuda"}},
            "other": {"image": {"repository": "other", "tag": "2"}},
            "text": {"image": f"plain@{DIGEST}"},
        },
    }
    found = templates(render("darkroom-cluster", values))
    images = {name: found[name]["spec"]["containers"][0]["image"] for name in values["pools"]}
    assert images == {
        "cpu": f"r.example.com/darkroom@{DIGEST}",
        "tag": "r.example.com/darkroom:1.0-cuda",
        "other": "other:2",
        "text": f"plain@{DIGEST}",
    }


FROM_NODE = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
HANDLERS: list[dict[str, Any]] = [
    {"sleep": {"seconds": 5}},
    {"httpGet": {"path": "/drain", "port": 8080}},
    {"exec": {"command": ["sleep", "5"]}},
]


@pytest.mark.parametrize("handler", HANDLERS, ids=[next(iter(one)) for one in HANDLERS])
def test_a_hook_of_values_takes_the_place_of_the_charts(handler: dict[str, Any]) -> None:
    lifecycle = {"lifecycle": {"preStop": handler}}
    for chart, ground in (
        ("darkroom-cluster", {}),
        ("darkroom-service", {"models": ["s3://b/m"], "keys": {"secretName": "keys"}}),
    ):
        found = templates(render(chart, ground | {"head": lifecycle, "pools": {"cpu": lifecycle}}))
        for name in ("head", "cpu"):
            ours = found[name]["spec"]["containers"][0]
            assert ours["lifecycle"] == {"preStop": handler}, "two handlers no API server takes"


def test_a_probe_of_values_takes_the_place_of_the_charts() -> None:
    probe = {"tcpSocket": {"port": 8333}, "failureThreshold": 9}
    s3 = {"enabled": True, "readinessProbe": probe}
    found = templates(render("darkroom-cluster", {"devS3": s3}))["devS3"]
    assert found["spec"]["containers"][0]["readinessProbe"] == {"periodSeconds": 2, **probe}
    s3["readinessProbe"] = {"failureThreshold": 9}
    found = templates(render("darkroom-cluster", {"devS3": s3}))["devS3"]
    assert set(found["spec"]["containers"][0]["readinessProbe"]) == {
        "failureThreshold",
        "httpGet",
        "periodSeconds",
    }


def test_a_probe_and_ports_of_a_pool_join_the_charts() -> None:
    ground = {"models": ["s3://b/m"], "keys": {"secretName": "keys"}}
    own = {"readinessProbe": {"timeoutSeconds": 10}, "ports": [{"containerPort": 9000}]}
    objects = render("darkroom-service", ground | {"pools": {"cpu": own}})
    container = templates(objects)["cpu"]["spec"]["containers"][0]
    plain = templates(render("darkroom-service", ground))["cpu"]["spec"]["containers"][0]
    assert container["readinessProbe"] == plain["readinessProbe"] | {"timeoutSeconds": 10}
    assert container["ports"] == [*plain["ports"], {"containerPort": 9000}]


@pytest.mark.parametrize(
    "context", [{"privileged": True}, {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}]
)
def test_a_container_that_asks_for_privileges_is_one_that_an_api_server_takes(
    context: dict[str, Any],
) -> None:
    """Beside these it takes no `allowPrivilegeEscalation: false`."""
    init = {"name": "sysctl", "image": "busybox:1.37", "securityContext": context}
    values = {"head": {"initContainers": [init], "securityContext": context}}
    pod = templates(render("darkroom-cluster", values))["head"]["spec"]
    for container in (pod["initContainers"][0], pod["containers"][0]):
        assert "allowPrivilegeEscalation" not in container["securityContext"]
    init["securityContext"] = context | {"allowPrivilegeEscalation": True}
    pod = templates(render("darkroom-cluster", values))["head"]["spec"]
    assert pod["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] is True


def test_other_devices_may_be_many() -> None:
    resources = {"limits": {"memory": "8Gi", "example.com/bytes": 2_000_000}}
    found = templates(render("darkroom-cluster", {"pools": {"cpu": {"resources": resources}}}))
    limits = found["cpu"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["example.com/bytes"] == "2000000"


@pytest.mark.parametrize(
    "image",
    [
        "localhost:5000/darkroom:1",
        f"r.example.com/a/b__c-d.e@{DIGEST}",
        f"10.0.0.1:5000/darkroom:1@{DIGEST}",
        "[fd00::1]:5000/darkroom:1",
    ],
)
def test_images_as_people_write_them_are_taken(image: str) -> None:
    found = templates(render("darkroom-cluster", {"head": {"image": image}}))
    assert found["head"]["spec"]["containers"][0]["image"] == image


@pytest.mark.parametrize(
    ("request_", "limit"),
    [("8Gi", "8Gi"), ("8G", "8Gi"), (8 * 2**30, "8Gi"), ("1e3", "1k"), ("500m", 0.5), ("1", "1E")],
)
def test_a_request_may_be_as_large_as_its_limit(request_: Any, limit: Any) -> None:
    resources = {"requests": {"memory": request_}, "limits": {"memory": limit}}
    render("darkroom-cluster", {"head": {"resources": resources}})


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(
        ("darkroom-cluster", {"head": {"resources": given}}, "request-above-limit")
        for given in (
            {"requests": {"memory": "16Gi"}},
            {"requests": {"memory": 2**33}},
            {"limits": {"cpu": "999m"}},
            {"requests": {"cpu": 1.5}, "limits": {"cpu": 1}},
        )
    ),
    *(
        ("darkroom-cluster", given, "image-reference")
        for given in (
            {"image": {"repository": "r/darkroom:1.0"}},
            {"image": {"repository": f"r/darkroom@{DIGEST}"}},
            {"image": {"repository": "R/Darkroom"}},
            {"image": {"tag": "1.0 "}},
            {"global": {"imageRegistry": "https://r.example.com"}},
            {"head": {"image": "r/darkroom:1.0:2"}},
            {"devS3": {"enabled": True, "image": {"repository": "http://r/s3"}}},
        )
    ),
    *(
        ("darkroom-cluster", {"pools": {"a": given}}, "replicas-order")
        for given in ({"replicas": 2}, {"replicas": 1, "minReplicas": 2, "maxReplicas": 3})
    ),
    ("darkroom-job", JOB | {"autoscaler": {"enabled": False}}, "job-no-workers"),
    ("darkroom-job", JOB | {"pools": {"cpu": {"maxReplicas": 0}}}, "job-no-workers"),
    *(
        (
            "darkroom-job",
            JOB
            | several
            | {
                "gcsFaultToleranceOptions": {
                    "redisAddress": "redis:6379",
                    "externalStorageNamespace": "runs",
                }
            },
            "redis-namespace-shared",
        )
        for several in ({"backoffLimit": 1}, {"nameHash": True})
    ),
    ("darkroom-job", JOB | {"entrypointResources": "{a: 1}"}, "entrypoint-resources"),
    (
        "darkroom-job",
        JOB
        | {"nameHash": True, "annotations": {"argocd.argoproj.io/sync-options": "Replace=true"}},
        "reserved-annotation",
    ),
    ("darkroom-cluster", {"env": {"A=B": "x"}}, "env-name"),
    ("darkroom-cluster", {"head": {"env": [{"name": "", "value": "x"}]}}, "env-name"),
    ("darkroom-cluster", {"head": {"env": [FROM_NODE | {"value": "x"}]}}, "env-twice"),
    (
        "darkroom-cluster",
        {"pools": {"a": {"labels": {"ray.io/node-group": "b"}}}},
        "reserved-label",
    ),
    ("darkroom-cluster", {"env": {"A": "x\x7f"}}, "control-character"),
    ("darkroom-cluster", {"head": {"podAnnotations": {"a": "x\ufffe"}}}, "control-character"),
    *(
        ("darkroom-cluster", given, "reserved-env")
        for given in (
            {"env": {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "7"}},
            {"pools": {"a": {"env": {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "7"}}}},
        )
    ),
    *(
        ("darkroom-cluster", given, "container-name")
        for given in (
            {"head": {"sidecars": [SIDECAR | {"name": "ray-head"}]}},
            {"head": {"sidecars": [SIDECAR | {"name": "autoscaler"}]}},
            {"head": {"sidecars": [SIDECAR, SIDECAR]}},
            {"pools": {"a": {"sidecars": [SIDECAR], "initContainers": [SIDECAR]}}},
            {"pools": {"a": {"initContainers": [SIDECAR | {"name": "wait-gcs-ready"}]}}},
            {"poolDefaults": {"sidecars": [SIDECAR | {"name": "ray-worker"}]}},
            {"helmTest": {"sidecars": [SIDECAR | {"name": "submit"}]}},
            {"devS3": {"enabled": True, "sidecars": [SIDECAR | {"name": "seaweedfs"}]}},
        )
    ),
    (
        "darkroom-job",
        JOB | {"submission": {"sidecars": [SIDECAR | {"name": "ray-job-submitter"}]}},
        "container-name",
    ),
    *(
        ("darkroom-cluster", given, "volume-missing")
        for given in (
            {"extraVolumeMounts": [{"name": "models", "mountPath": "/models"}]},
            {"head": {"volumeMounts": [{"name": "models", "mountPath": "/models"}]}},
            {
                "head": {
                    "sidecars": [
                        SIDECAR | {"volumeMounts": [{"name": "models", "mountPath": "/models"}]}
                    ]
                }
            },
        )
    ),
    ("darkroom-cluster", {"pools": {"a": {"image": "ray"}}}, "image-tag-latest"),
    ("darkroom-cluster", {"head": {"image": {"tag": "latest"}}}, "image-tag-latest"),
    (
        "darkroom-cluster",
        {
            "image": {"digest": DIGEST, "requireDigest": True},
            "pools": {"a": {"image": {"tag": "1"}}},
        },
        "image-digest-required",
    ),
    (
        "darkroom-cluster",
        {"head": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        "gpu-idle",
    ),
    (
        "darkroom-cluster",
        {"pools": {"a": {"gpus": 1, "rayStartParams": {"num-gpus": "0"}}}},
        "gpu-idle",
    ),
    (
        "darkroom-cluster",
        {"pools": {"a": {"gpus": 2, "resources": {"limits": {"nvidia.com/gpu": 1}}}}},
        "gpu-twice",
    ),
    (
        "darkroom-cluster",
        {"env": [{"name": "HF_TOKEN", "value": "x"}]},
        "static-credentials",
    ),
    ("darkroom-cluster", {"autoscaler": {"env": {"WANDB_API_KEY": "x"}}}, "static-credentials"),
    (
        "darkroom-cluster",
        {"head": {"sidecars": [SIDECAR | {"env": [{"name": "HF_TOKEN", "value": "x"}]}]}},
        "static-credentials",
    ),
    (
        "darkroom-job",
        JOB | {"runtimeEnvYAML": "env_vars: {AWS_SECRET_ACCESS_KEY: x}"},
        "static-credentials",
    ),
    ("darkroom-job", JOB | {"submission": {"env": {"HF_TOKEN": "x"}}}, "static-credentials"),
    ("darkroom-cluster", {"fullnameOverride": "a" * 50, "devS3": {"enabled": True}}, "name-length"),
    (
        "darkroom-cluster",
        {"serviceAccount": {"create": False}, "s3": {"identity": {"mode": "irsa"}}},
        "identity-incomplete",
    ),
    (
        "darkroom-job",
        JOB | {"submission": {"mode": "HTTPMode", "nodeSelector": {"a": "b"}}},
        "submission-ignored",
    ),
    (
        "darkroom-cluster",
        {"serviceAccount": {"create": False, "annotations": {"a": "b"}}},
        "identity-incomplete",
    ),
    *(
        ("darkroom-job", JOB | {"clusterSelector": "ray"} | given, "cluster-selector-ignores")
        for given in (
            {"env": {"A": "b"}},
            {"pools": {"gpu": {"gpus": 1}}},
            {"head": {"nodeSelector": {"a": "b"}}},
            {"networkPolicy": {"s3Ports": [9000]}},
            {"autoscaler": {"enabled": False}},
        )
    ),
]


@pytest.mark.parametrize(
    ("chart", "values", "rule"),
    REFUSED,
    ids=[f"{rule}-{i}" for i, (_, _, rule) in enumerate(REFUSED)],
)
def test_refused(chart: str, values: dict[str, Any], rule: str) -> None:
    with pytest.raises(RenderError, match=rf"\[{rule}\]") as refused:
        render(chart, values)
    assert len(str(refused.value).splitlines()) == 1


def test_gpu_pools_offer_no_cpu_unless_told() -> None:
    """CPU work never starts a GPU node; `helm test` asks each pool for what it offers."""
    amd = {"resources": {"limits": {"amd.com/gpu": "2"}, "requests": {"cpu": "4"}}}
    pools = {
        "gpu": {"gpus": 1},
        "amd": amd,
        "shared-gpu": {"resources": {"limits": {"nvidia.com/gpu.shared": 1}}},
        "mig": {"gpus": 1, "gpuResource": "nvidia.com/mig-1g.10gb"},
        "shared": {"gpus": 1, "cpus": 6},
        "flag": {"gpus": 1, "rayStartParams": {"num-cpus": "3"}},
        "claimed": {"rayStartParams": {"num-gpus": "1"}},
    }
    objects = render("darkroom-cluster", {"pools": pools})
    (spec,) = (o["spec"] for o in objects if o["kind"] == "RayCluster")
    params = {group["groupName"]: group["rayStartParams"] for group in spec["workerGroupSpecs"]}
    offered = {name: (p.get("num-cpus"), p["num-gpus"]) for name, p in params.items()}
    assert offered == {
        "cpu": (None, "0"),
        "gpu": ("0", "1"),
        "amd": ("0", "2"),
        "shared-gpu": ("0", "1"),
        "mig": ("0", "1"),
        "shared": ("6", "1"),
        "flag": ("3", "1"),
        "claimed": ("0", "1"),
    }
    asked = {
        o["metadata"]["name"].removeprefix("darkroom-test-"): o["spec"]["containers"][0]["args"]
        for o in objects
        if o["kind"] == "Pod"
    }
    by_cpu = {name for name, args in asked.items() if "--entrypoint-num-cpus" in args}
    by_gpu = {name for name, args in asked.items() if "--entrypoint-num-gpus" in args}
    assert by_cpu == {"cpu", "shared", "flag"}
    assert by_gpu == {"gpu", "amd", "mig", "claimed", "shared-gpu"}
    tolerated = {
        group["groupName"]: [t["key"] for t in group["template"]["spec"].get("tolerations", [])]
        for group in spec["workerGroupSpecs"]
    }
    assert tolerated["amd"] == ["amd.com/gpu"]
    assert tolerated["mig"] == tolerated["gpu"] == ["nvidia.com/gpu"]
    assert tolerated["cpu"] == []


def test_types_of_kubernetes_are_those_of_the_pinned_one() -> None:
    from kubernetes_types import TARGET, types_text

    try:
        assert TARGET.read_text() == types_text()
    except MissingToolError as missing:
        pytest.skip(str(missing))
