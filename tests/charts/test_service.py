"""The chart darkroom-service: what Serve is told, who gets in, and what a request outlives.

What Serve takes is asked of Serve itself: it ignores keys that it does not know, so each one is
looked up in its schema, and the settings are given to the application's own `build`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import RenderError, render

CHART = ROOT / "charts" / "darkroom-service"
GROUND: dict[str, Any] = {"models": ["s3://b/m"], "keys": {"secretName": "keys"}}
CI_FILES = sorted((CHART / "ci").glob("*.yaml"))
Objects = list[dict[str, Any]]
each_ci_file = pytest.mark.parametrize("path", CI_FILES, ids=[path.stem for path in CI_FILES])


def service(objects: Objects) -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == "RayService")
    spec: dict[str, Any] = found["spec"]
    return spec


def serve_config(spec: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(spec["serveConfigV2"])
    return config


def templates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return found


def unknown(given: Any, model: Any, path: str = "") -> list[str]:
    """Keys that Serve's schema lacks and would ignore; below `args` they are the application's."""
    if isinstance(given, list):
        return [name for item in given for name in unknown(item, model, path)]
    if not isinstance(given, dict) or not hasattr(model, "model_fields"):
        return []
    found = [f"{path}{key}" for key in given if key not in model.model_fields]
    for key in given.keys() & BELOW.keys():
        found += unknown(given[key], BELOW[key](), f"{path}{key}.")
    return found


def _schema(name: str) -> Any:
    from ray.serve import config, schema

    return getattr(schema, name, None) or getattr(config, name)


BELOW: dict[str, Any] = {
    "applications": lambda: _schema("ServeApplicationSchema"),
    "http_options": lambda: _schema("HTTPOptionsSchema"),
    "deployments": lambda: _schema("DeploymentSchema"),
    "ray_actor_options": lambda: _schema("RayActorOptionsSchema"),
    "autoscaling_config": lambda: _schema("AutoscalingConfig"),
}


@each_ci_file
def test_serve_knows_every_key_and_takes_every_value(path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    config = serve_config(service(render("darkroom-service", files=[path])))
    assert unknown(config, ServeDeploySchema) == []
    taken = ServeDeploySchema.model_validate(config)
    assert taken.http_options.host == "0.0.0.0"  # noqa: S104
    assert taken.http_options.request_timeout_s is None


def test_a_key_that_serve_would_ignore_is_found() -> None:
    from ray.serve.schema import ServeDeploySchema

    config = {"aplications": [], "applications": [{"deployments": [{"max_surge": 100}]}]}
    found = unknown(config, ServeDeploySchema)
    assert found == ["aplications", "applications.deployments.max_surge"]


@each_ci_file
def test_the_application_takes_the_settings(path: Path) -> None:
    """`build` refuses what it does not know; the deployments are those that it makes."""
    from darkroom.config import build_config
    from darkroom.jobs.serve.app import APP, DRAWING, HTTP
    from darkroom.jobs.serve.config import ServeConfig

    spec = service(render("darkroom-service", files=[path]))
    (application,) = serve_config(spec)["applications"]
    config = build_config(ServeConfig, application["args"])
    assert application["import_path"] == "darkroom.jobs.serve.app:build"
    assert application["name"] == APP
    assert {item["name"] for item in application["deployments"]} == {HTTP, DRAWING}
    values = yaml.safe_load(path.read_text())
    assert list(config.models) == values["models"]
    assert config.limits.deadline_seconds == values.get("limits", {}).get("deadline_seconds", 300)
    assert (config.keys is None) == values["keys"].get("disabled", False)


@each_ci_file
def test_a_request_outlives_whatever_goes(path: Path) -> None:
    spec = service(render("darkroom-service", files=[path]))
    (application,) = serve_config(spec)["applications"]
    longest = application["args"].get("limits", {}).get("deadline_seconds", 300)
    drain = application["args"]["drain_seconds"]
    assert drain >= longest
    assert spec["rayClusterDeletionDelaySeconds"] > longest
    for deployment in application["deployments"]:
        assert deployment["max_surge_percent"] == 100
        assert deployment["graceful_shutdown_timeout_s"] == drain
    for pod in templates(spec):
        assert pod["terminationGracePeriodSeconds"] >= drain + 30
        env = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
        assert env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == str(drain)


def test_a_longer_grace_of_values_stays() -> None:
    values = GROUND | {"pools": {"cpu": {"terminationGracePeriodSeconds": 4000}}}
    head, worker = templates(service(render("darkroom-service", values)))
    assert head["terminationGracePeriodSeconds"] == 340
    assert worker["terminationGracePeriodSeconds"] == 4000


def test_workers_are_ready_by_the_proxy_and_alive_by_ray() -> None:
    """A worker without a replica is not ready by design; to kill it for that would be wrong."""
    spec = service(render("darkroom-service", GROUND))
    assert spec["excludeHeadPodFromServeSvc"] is True
    head, worker = (pod["containers"][0] for pod in templates(spec))
    for container in (head, worker):
        assert {"name": "serve", "containerPort": 8000} in container["ports"]
        assert "livenessProbe" not in container
    assert worker["readinessProbe"]["httpGet"] == {"path": "/-/healthz", "port": 8000}
    assert "readinessProbe" not in head
    # Another handler takes the place of the chart's, whose times stay.
    own = {"exec": {"command": ["true"]}}
    values = GROUND | {"pools": {"cpu": {"readinessProbe": own}}}
    _, other = (p["containers"][0] for p in templates(service(render("darkroom-service", values))))
    times = {k: v for k, v in worker["readinessProbe"].items() if k != "httpGet"}
    assert other["readinessProbe"] == times | own


def test_keys_are_mounted_where_the_application_reads_them() -> None:
    spec = service(render("darkroom-service", GROUND))
    place = serve_config(spec)["applications"][0]["args"]["keys"]
    for pod in templates(spec):
        (volume,) = (v for v in pod["volumes"] if v["name"] == "api-keys")
        assert volume["secret"] == {"secretName": "keys"}
        mount = {"name": "api-keys", "mountPath": place, "readOnly": True}
        assert mount in pod["containers"][0]["volumeMounts"]


def test_a_signing_key_is_mounted_where_the_application_reads_it() -> None:
    from darkroom.config import build_config
    from darkroom.jobs.serve.config import ServeConfig

    spec = service(render("darkroom-service", GROUND | {"signing": {"secretName": "c2pa"}}))
    (application,) = serve_config(spec)["applications"]
    signing = build_config(ServeConfig, application["args"]).signing
    assert signing is not None
    for pod in templates(spec):
        volumes = {item["name"]: item for item in pod["volumes"]}
        mounts = {item["name"]: item for item in pod["containers"][0]["volumeMounts"]}
        assert volumes["signing"]["secret"]["secretName"] == "c2pa"
        assert {"api-keys", "signing"} <= mounts.keys()
        path = mounts["signing"]["mountPath"]
        assert (signing.key, signing.certificate) == (f"{path}/tls.key", f"{path}/tls.crt")
    spec = service(render("darkroom-service", GROUND))
    assert "signing" not in serve_config(spec)["applications"][0]["args"]
    for pod in templates(spec):
        assert "signing" not in {item["name"] for item in pod["volumes"]}


def test_without_keys_only_the_services_own_names_are_answered_to() -> None:
    values = {"models": ["s3://b/m"], "keys": {"disabled": True}, "hosts": ["draw.corp"]}
    spec = service(render("darkroom-service", values))
    args = serve_config(spec)["applications"][0]["args"]
    assert "keys" not in args
    assert {"darkroom-serve-svc.darkroom.svc", "draw.corp"} <= set(args["hosts"])
    assert "api-keys" not in str(spec)


def test_the_http_replicas_stay_off_the_head() -> None:
    """They take no CPU of Ray's, so the head's `num-cpus: 0` keeps none of them away."""
    spec = service(render("darkroom-service", GROUND))
    deployments = {d["name"]: d for d in serve_config(spec)["applications"][0]["deployments"]}
    options = deployments["http"]["ray_actor_options"]
    assert options == {"num_cpus": 0, "label_selector": {"ray.io/node-group": "!headgroup"}}
    assert spec["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_port_8000_is_open_to_clients_on_workers_and_to_the_operator_on_the_head() -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"team": "web"}}}]
    objects = render("darkroom-service", GROUND | {"clientsFrom": clients})
    opened = {}
    for item in objects:
        if item["kind"] != "NetworkPolicy":
            continue
        for rule in item["spec"].get("ingress", []):
            if 8000 in [port["port"] for port in rule.get("ports", [])]:
                role = item["spec"]["podSelector"]["matchLabels"]["ray.io/node-type"]
                opened[role] = rule["from"]
    assert opened["worker"] == clients
    operator = named(objects, "NetworkPolicy", "darkroom-head")["spec"]["ingress"][0]
    assert opened["head"] == operator["from"]
    assert set(opened) == {"worker", "head"}


def test_the_budget_is_one_that_kubernetes_takes() -> None:
    """A RayCluster has no scale: percentages and maxUnavailable would be refused at an eviction."""
    budget = named(render("darkroom-service", GROUND), "PodDisruptionBudget", "darkroom")["spec"]
    assert isinstance(budget["minAvailable"], int)
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["selector"]["matchLabels"]["ray.io/node-type"] == "worker"


def test_alerts_and_dashboard_use_metrics_that_exist() -> None:
    """Names as Ray and the operator define them; Prometheus adds `_total` and `_bucket`."""
    import re

    import ray.serve._private as serve
    from testcluster.binaries import source_directory

    objects = render("darkroom-service", GROUND | {"monitoring": {"enabled": True}})
    (group,) = named(objects, "PrometheusRule", "darkroom")["spec"]["groups"]
    used = {
        name
        for rule in group["rules"]
        for name in re.findall(r"\b(?:ray|kuberay)_[a-z_]+(?=\{)", rule["expr"])
    }
    metrics = source_directory("KUBERAY") / "controllers" / "ray" / "metrics"
    sources = [*Path(serve.__path__[0]).glob("*.py"), *metrics.glob("*.go")]
    text = "".join(path.read_text() for path in sources)
    text = text.replace("{protocol_name}", "http").replace("{protocol}", "http")
    known = {
        *(f"ray_{name}" for name in re.findall(r'"(serve_[a-z_]+)"', text)),
        *re.findall(r'"(kuberay_[a-z_]+)"', text),
    }
    assert len(used) == 4
    board = named(objects, "ConfigMap", "darkroom-dashboard")["data"]["darkroom-service.json"]
    used |= set(re.findall(r"\bray_serve_[a-z_]+(?=\{)", board))
    assert len(used) > 4
    assert {re.sub("_(total|bucket)$", "", name) for name in used} - known == set()


def incremental(**values: Any) -> dict[str, Any]:
    given = {"experimental": True, "gatewayClassName": "traefik", **values}
    return {"upgrade": {"incremental": given}}


INCREMENTAL = GROUND | incremental()


def test_traffic_moves_by_a_gateway_where_values_say_so() -> None:
    spec = service(render("darkroom-service", GROUND | incremental(stepSizePercent=25)))
    assert spec["upgradeStrategy"] == {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": {
            "gatewayClassName": "traefik",
            "stepSizePercent": 25,
            "intervalSeconds": 30,
            "maxSurgePercent": 100,
        },
    }
    assert spec["rayClusterConfig"]["enableInTreeAutoscaling"] is True
    spec = service(render("darkroom-service", GROUND))
    assert spec["upgradeStrategy"] == {"type": "NewCluster"}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("models-required", {"keys": {"secretName": "keys"}}),
    ("keys-required", {"models": ["s3://b/m"]}),
    ("keys-twice", GROUND | {"keys": {"secretName": "keys", "disabled": True}}),
    ("names-count", GROUND | {"names": ["a", "b"]}),
    ("time-too-long", GROUND | {"drainSeconds": 2**31 - 1}),
    ("time-too-long", GROUND | {"limits": {"deadline_seconds": 1e12}}),
    ("initializing-timeout", GROUND | {"annotations": {"ray.io/initializing-timeout": "half"}}),
    ("drain-below-deadline", GROUND | {"drainSeconds": 299}),
    ("deletion-below-deadline", GROUND | {"upgrade": {"deletionDelaySeconds": 300}}),
    ("service-ray-version", GROUND | {"rayVersion": "2.59.0"}),
    (
        "replicas-order",
        GROUND | {"drawing": {"autoscaling": {"min_replicas": 3, "max_replicas": 2}}},
    ),
    ("incremental-ingress", INCREMENTAL | {"ingress": {"enabled": True}}),
    ("incremental-service", INCREMENTAL | {"serveService": {"type": "LoadBalancer"}}),
    ("incremental-hosts", INCREMENTAL | {"keys": {"disabled": True}}),
    ("service-no-workers", GROUND | {"pools": {"cpu": {"enabled": False}}}),
    ("service-no-workers", GROUND | {"pools": {"cpu": {"maxReplicas": 0}}}),
    ("service-no-workers", GROUND | {"autoscaler": {"enabled": False}}),
    (
        "redis-namespace-shared",
        GROUND
        | {
            "gcsFaultToleranceOptions": {
                "redisAddress": "redis:6379",
                "externalStorageNamespace": "draw",
            }
        },
    ),
    ("jobs-place", GROUND | {"jobs": {"place": "/data/jobs"}}),
    ("jobs-place", GROUND | {"jobs": {"days": 3}}),
    ("names-twice", GROUND | {"models": ["s3://a/m", "s3://b/n"], "names": ["x", "x"]}),
    *(
        ("replicas-order", GROUND | {"http": {"autoscaling": {"max_replicas": 2, **first}}})
        for first in ({"initial_replicas": 3}, {"initial_replicas": 1, "min_replicas": 2})
    ),
    ("http-from-zero", GROUND | {"http": {"autoscaling": {"min_replicas": 0}}}),
    *(
        ("ingress-wildcard", GROUND | {"ingress": {"host": "*.example.org"}} | known)
        for known in ({"hosts": ["x"]}, {"keys": {"disabled": True}})
    ),
    ("reserved-volume", GROUND | {"extraVolumes": [{"name": "api-keys", "emptyDir": {}}]}),
    ("reserved-volume", GROUND | {"pools": {"cpu": {"volumes": [{"name": "signing"}]}}}),
    *(
        ("reserved-volume", GROUND | {"extraVolumeMounts": [{"name": "x", "mountPath": place}]})
        for place in (
            "/var/run/secrets/darkroom/keys",
            "/var/run/secrets/darkroom/",
            "/x/../etc/darkroom",
        )
    ),
    ("kueue-service", GROUND | {"kueue": {"queueName": "gpu"}}),
    ("submission-ignored", GROUND | {"networkPolicy": {"submitterExtraEgress": [{}]}}),
]


@pytest.mark.parametrize(
    "values",
    [
        {"ingress": {"host": "https://draw.example.org"}},
        {"ingress": {"host": "Draw.example.org"}},
        {"ingress": {"host": "draw.example.org:443"}},
        {"hosts": ["https://draw.example.org"]},
        {"hosts": ["draw.example.org:443"]},
        {"hosts": ["*.example.org"]},
        {"monitoring": {"rules": {"slowAbove": 0.0001}}},
    ],
)
def test_what_could_never_work_is_no_value(values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="values don't meet the specifications"):
        render("darkroom-service", GROUND | values)


@pytest.mark.parametrize("host", ["*.example.org", "draw.example.org", "draw"])
def test_hosts_as_people_write_them_are_taken(host: str) -> None:
    values = {"ingress": {"enabled": True, "host": host}}
    ingress = named(render("darkroom-service", GROUND | values), "Ingress", "darkroom")
    assert ingress["spec"]["rules"][0]["host"] == host
    names = ["draw.example.org", "Draw", "10.0.0.1", "fd00::1"]
    config = serve_config(service(render("darkroom-service", GROUND | {"hosts": names})))
    assert set(names) <= set(config["applications"][0]["args"]["hosts"])


@pytest.mark.parametrize(("rule", "values"), REFUSED, ids=[rule for rule, _ in REFUSED])
def test_refused(rule: str, values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match=rf"\[{rule}\]") as refused:
        render("darkroom-service", values)
    assert len(str(refused.value).splitlines()) == 1


def test_settings_of_autoscaling_are_serves() -> None:
    from ray.serve.config import AutoscalingConfig

    definitions = yaml.safe_load((ROOT / "hack/charts/definitions.yaml").read_text())
    names = set(definitions["serveAutoscaling"]["properties"])
    assert names - set(AutoscalingConfig.model_fields) == set()
