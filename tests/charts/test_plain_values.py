"""Values arrive as what they are: large numbers whole, names that are words of YAML as names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import RenderError, StrictLoader, render, render_text, schema_errors
from values_file import Entry, leaves, read_entries

CHARTS = ("darkroom-cluster", "darkroom-job", "darkroom-service")
GROUND: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {"devS3": {"enabled": True}, "monitoring": {"enabled": True}},
    "darkroom-job": {"verb": "train", "output": "s3://b/run", "monitoring": {"enabled": True}},
    "darkroom-service": {
        "models": ["s3://b/m"],
        "keys": {"secretName": "keys"},
        "limits": {"max_body_bytes": 1_209_600},
        "monitoring": {"enabled": True},
        "upgrade": {"incremental": {"experimental": True, "gatewayClassName": "on"}},
    },
}
# Helm prints a float as it is from a million on with an exponent, and YAML reads that as another.
LARGE = 1_209_600
each_chart = pytest.mark.parametrize("chart", CHARTS)


def put(values: dict[str, Any], entry: Entry, value: Any) -> None:
    for key in entry.path[:-1]:
        values = values.setdefault(key, {})
    values[entry.path[-1]] = value


def may_be_large(entry: Entry) -> bool:
    kinds = entry.schema.get("type", [])
    whole = "integer" in kinds or type(entry.default) is int
    return whole and "maximum" not in entry.schema


@each_chart
def test_every_whole_number_may_be_large(chart: str) -> None:
    values: dict[str, Any] = json.loads(json.dumps(GROUND[chart]))
    values |= {"kuberay": {"version": "1.7"}, "pools": {"cpu": {"maxReplicas": LARGE}}}
    values["s3"] = {"identity": {"mode": "webIdentity", "roleArn": ROLE}}
    values.pop("devS3", None)
    names = []
    for entry in leaves(read_entries(ROOT / "charts" / chart / "values.yaml")):
        if may_be_large(entry) and entry.path[0] not in ("entrypointNumCpus", "entrypointNumGpus"):
            put(values, entry, LARGE)
            names.append(entry.dotted)
    assert len(names) > 10
    if chart == "darkroom-job":
        times = {"cluster": LARGE, "self": LARGE}
        rules = {"onSuccess": times, "onFailure": times}
        values["cleanup"] = {"mode": "rules", "rules": rules, "ttlSeconds": LARGE}
    text = render_text(chart, values)
    assert re.findall(r"\d[eE]\+?\d+\s", text) == []
    assert text.count(str(LARGE)) >= len(names)


@each_chart
def test_what_no_field_holds_is_refused_by_name(chart: str) -> None:
    """Helm would round what is above 2^53; the API server takes no more than 2^31."""
    pools = {"cpu": {"maxReplicas": 2**31, "terminationGracePeriodSeconds": 2**53 + 1}}
    ports = {"head": {"ports": [{"containerPort": 2**40}]}}
    with pytest.raises(RenderError) as refused:
        render_text(chart, GROUND[chart] | {"pools": pools} | ports)
    for field in ("maxReplicas", "terminationGracePeriodSeconds", "containerPort"):
        assert f"{field}': maximum" in str(refused.value)


@pytest.mark.parametrize("persistent", [True, False])
def test_quantities_may_be_numbers(persistent: bool) -> None:
    size = 2**31
    storage = {"size": size, "persistent": persistent}
    resources = {"requests": {"cpu": 2, "memory": size}, "limits": {"memory": size}}
    part = {"resources": resources, "tmpSizeLimit": size}
    values = {"head": part, "pools": {"cpu": part}, "helmTest": part}
    values |= {"devS3": part | {"enabled": True, "storage": storage}}
    objects = render("darkroom-cluster", values)
    assert schema_errors(objects) == []
    text = json.dumps(objects)
    assert text.count(f'"{size}"') == 5 * 3 + 1, "of five pods, and of the server's volume"
    assert "e+" not in text


ROLE = "arn:aws:iam::111122223333:role/x"
WORDS = {"fullnameOverride": "yes", "auth": {"secretName": "null"}, "pools": {"on": {}}}


@each_chart
def test_names_that_are_words_of_yaml_stay_names(chart: str) -> None:
    values = GROUND[chart] | WORDS
    text = render_text(chart, values, release="off", namespace="true")
    # The API server's YAML takes yes, on and null for what they are not; PyYAML reads likewise.
    objects = [item for item in yaml.load_all(text, Loader=StrictLoader) if item]
    assert schema_errors(objects) == []
    for item in objects:
        assert item["metadata"]["name"].startswith("yes")
        assert item["metadata"]["namespace"] == "true"
    (spec,) = (o["spec"] for o in objects if o["kind"] in ("RayCluster", "RayJob", "RayService"))
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    assert "on" in [group["groupName"] for group in cluster["workerGroupSpecs"]]
    assert cluster["authOptions"]["secretName"] == "null"


@each_chart
@pytest.mark.parametrize("section", [("auth",), ("s3", "identity")])
def test_a_secret_has_a_name_that_one_can_have(chart: str, section: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"secretName": "My_Secret\n"}
    for key in reversed(section):
        values = {key: values}
    with pytest.raises(RenderError, match=r"secretName': .* does not match pattern"):
        render(chart, GROUND[chart] | values)


def test_a_selected_cluster_has_a_name_that_one_can_have() -> None:
    with pytest.raises(RenderError, match="clusterSelector"):
        render("darkroom-job", {"verb": "train", "output": "s3://b/run", "clusterSelector": "A_b"})


def test_a_selected_cluster_may_have_such_a_name() -> None:
    values = {"verb": "train", "output": "s3://b/run", "clusterSelector": "no"}
    (job,) = (o for o in render("darkroom-job", values) if o["kind"] == "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": "no"}
    labels = job["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    assert labels["darkroom/cluster"] == "no"
