"""What selects pods: keys that values cannot set, apart for each release, alias and cluster."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from schemas import ROOT
from tools import RenderError, render

Objects = list[dict[str, Any]]
GROUND: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {"devS3": {"enabled": True}, "monitoring": {"enabled": True}},
    "darkroom-job": {"verb": "train", "output": "s3://b/run", "monitoring": {"enabled": True}},
    "darkroom-service": {
        "models": ["s3://b/m"],
        "keys": {"secretName": "keys"},
        "monitoring": {"enabled": True},
    },
}
# What the operator adds to Ray's pods, by their group; see labelPod in its source.
OPERATOR = {"ray.io/is-ray-node": "yes", "app.kubernetes.io/name": "kuberay"}
OPERATOR |= {"app.kubernetes.io/created-by": "kuberay-operator"}


def pods(objects: Objects) -> dict[str, dict[str, str]]:
    """Labels of every pod that comes of the objects, as they are in the cluster, by a name."""
    found: dict[str, dict[str, str]] = {}
    for item in objects:
        name = f"{item['kind']}/{item['metadata']['name']}"
        spec = item.get("spec", {})
        if item["kind"] == "Pod":
            found[name] = item["metadata"]["labels"]
        if item["kind"] == "StatefulSet":
            found[name] = spec["template"]["metadata"]["labels"]
        if "submitterPodTemplate" in spec:
            found[f"{name}/submitter"] = spec["submitterPodTemplate"]["metadata"]["labels"]
        cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        if "headGroupSpec" in cluster:
            groups = [("head", cluster["headGroupSpec"]), *_workers(cluster)]
            for group, values in groups:
                labels = values["template"]["metadata"]["labels"]
                kind = "head" if group == "head" else "worker"
                found[f"{name}/{group}"] = labels | OPERATOR | {"ray.io/node-type": kind}
    return found


def _workers(cluster: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(group["groupName"], group) for group in cluster["workerGroupSpecs"]]


def selected(objects: Objects, among: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    """Which of the pods each policy, service, set and monitor selects."""
    found = {}
    for item in objects:
        spec = item.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if not selector:
            continue
        wanted = selector.get("matchLabels", selector)
        assert all("/" in key for key in wanted)
        chosen = {name for name, labels in among.items() if wanted.items() <= labels.items()}
        found[f"{item['kind']}/{item['metadata']['name']}"] = chosen
    return found


USERS = {
    "app.kubernetes.io/part-of": "ml-platform",
    "app.kubernetes.io/instance": "argo",
    "app.kubernetes.io/component": "ray",
    "app.kubernetes.io/version": "7",
    "team": "research",
}
PLACES: dict[str, Any] = {
    "commonLabels": USERS,
    "head": {"podLabels": USERS | {"team": "platform"}},
    "pools": {"cpu": {"podLabels": USERS | {"team": "vision"}}},
}


@pytest.mark.parametrize("chart", GROUND)
def test_labels_of_values_take_no_pod_out_of_a_selector(chart: str) -> None:
    plain = render(chart, GROUND[chart])
    before = selected(plain, pods(plain))
    assert all(before.values())
    labelled = render(chart, GROUND[chart] | copy.deepcopy(PLACES))
    assert selected(labelled, pods(labelled)) == before


@pytest.mark.parametrize("chart", GROUND)
def test_the_more_special_label_wins(chart: str) -> None:
    """StrictLoader, which `render` uses, refuses a key that stands twice."""
    objects = render(chart, GROUND[chart] | copy.deepcopy(PLACES))
    teams = {name.rsplit("/", 1)[-1]: labels["team"] for name, labels in pods(objects).items()}
    assert teams["head"] == "platform"
    assert teams["cpu"] == "vision"
    assert {item["metadata"]["labels"]["team"] for item in objects} == {"research"}


@pytest.mark.parametrize("chart", GROUND)
def test_an_empty_label_is_one_too(chart: str) -> None:
    """As in `node-role.kubernetes.io/worker: ""`. Over another it takes the value away."""
    values = {
        "commonLabels": {"mine": "", "team": "a"},
        "poolDefaults": {"podLabels": {"team": ""}},
    }
    objects = render(chart, GROUND[chart] | values)
    assert {item["metadata"]["labels"].get("mine") for item in objects} == {""}
    found = pods(objects)
    assert {labels.get("mine") for labels in found.values()} == {""}
    unset = {name for name, labels in found.items() if not labels["team"]}
    assert unset == {name for name in found if name.endswith("/cpu")}
    assert not [
        item for item in objects if "kueue.x-k8s.io/queue-name" in item["metadata"]["labels"]
    ]


def test_an_empty_annotation_is_one_too() -> None:
    (job,) = (
        item
        for item in render("darkroom-job", GROUND["darkroom-job"] | {"annotations": {"x/y": ""}})
        if item["kind"] == "RayJob"
    )
    assert job["metadata"]["annotations"] == {"x/y": ""}


RESERVED = (
    *("darkroom/cluster", "darkroom/component", "ray.io/is-ray-node", "ray.io/cluster"),
    *("app.kubernetes.io/name", "app.kubernetes.io/created-by", "kueue.x-k8s.io/queue-name"),
)


@pytest.mark.parametrize("place", PLACES)
def test_keys_that_select_are_refused(place: str) -> None:
    """One of the keys in each place by Helm; the rest of them by the same rule."""
    for key in RESERVED if place == "commonLabels" else RESERVED[:1]:
        labels: dict[str, Any] = {key: "x"}
        values = {
            "commonLabels": labels,
            "head": {"podLabels": labels},
            "pools": {"cpu": {"podLabels": labels}},
        }
        with pytest.raises(RenderError, match=r"\[reserved-label\]"):
            render("darkroom-cluster", {place: values[place]})


def assert_apart(parts: list[Objects]) -> None:
    """Nothing of one part selects a pod of another, and no two have an object in common."""
    among = {name: labels for part in parts for name, labels in pods(part).items()}
    for part in parts:
        for name, chosen in selected(part, among).items():
            assert chosen, name
            assert chosen <= set(pods(part)), name
    names = [
        {(item["kind"], item["metadata"]["name"]) for item in part if item["metadata"].get("name")}
        for part in parts
    ]
    for one, other in itertools.combinations(names, 2):
        assert one & other == set()


def test_two_releases_in_a_namespace_are_apart() -> None:
    assert_apart(
        [
            render("darkroom-cluster", GROUND["darkroom-cluster"], release="one"),
            render("darkroom-cluster", GROUND["darkroom-cluster"], release="two"),
            render("darkroom-job", GROUND["darkroom-job"], release="three"),
            render("darkroom-service", GROUND["darkroom-service"], release="four"),
        ]
    )


def umbrella(folder: Path, values: dict[str, Any], dependencies: list[dict[str, Any]]) -> str:
    """A chart over ours, vendored as `helm dependency build` leaves them."""
    (folder / "charts").mkdir(parents=True)
    for name in {item["name"] for item in dependencies}:
        (folder / "charts" / name).symlink_to(ROOT / "charts" / name)
    for item in dependencies:
        item |= {"version": "0.1.0", "repository": f"file://{ROOT}/charts/{item['name']}"}
    chart = {"apiVersion": "v2", "name": "ml-platform", "version": "1.0.0"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart | {"dependencies": dependencies}))
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    return str(folder)


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_two_aliases_in_a_release_are_apart(tmp_path: Path, helm: str) -> None:
    ground = GROUND["darkroom-cluster"]
    job = GROUND["darkroom-job"]
    dependencies = [
        {"name": "darkroom-cluster", "alias": "research"},
        {"name": "darkroom-cluster", "alias": "vision"},
        {"name": "darkroom-cluster", "alias": "third"},
        {"name": "darkroom-job"},
        {"name": "darkroom-service"},
    ]
    values = {"research": ground, "vision": ground, "third": {"nameOverride": "x"}}
    values |= {"darkroom-job": job, "darkroom-service": GROUND["darkroom-service"]}
    values |= {"global": {"imageRegistry": "mirror.example.com"}}
    objects = render(umbrella(tmp_path, values, dependencies), helm=helm, release="release")
    ours = ("research", "vision", "x", "darkroom-job", "darkroom-service")
    stems = [f"release-{name}" for name in ours]
    parts = [[o for o in objects if o["metadata"]["name"].startswith(stem)] for stem in stems]
    assert sum(map(len, parts)) == len(objects)
    assert_apart(parts)
    for item in objects:
        for image in images(item):
            assert image.startswith("mirror.example.com/darkroom")


@pytest.mark.parametrize(
    ("release", "aliases"),
    [("ray-a100", ("a10", "a100")), ("research-vision", ("research", "vision"))],
)
def test_a_release_that_is_called_like_its_aliases_has_a_name_for_each(
    tmp_path: Path, release: str, aliases: tuple[str, ...]
) -> None:
    dependencies = [{"name": "darkroom-cluster", "alias": alias} for alias in aliases]
    values = dict.fromkeys(aliases, GROUND["darkroom-cluster"])
    objects = render(umbrella(tmp_path, values, dependencies), release=release)
    made = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len({*made}) == len(made)
    clusters = {name for kind, name in made if kind == "RayCluster"}
    assert clusters == {f"{release}-{aliases[0]}", release}


def images(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for item in node for found in images(item)]
    if not isinstance(node, dict):
        return []
    here = [node["image"]] if isinstance(node.get("image"), str) else []
    return here + [found for value in node.values() for found in images(value)]


@pytest.mark.parametrize("enabled", [True, False])
def test_an_umbrella_charts_condition(tmp_path: Path, enabled: bool) -> None:
    values = {
        "darkroom-cluster": {"enabled": enabled, "fullnameOverride": "ray"},
        "darkroom-job": {
            "enabled": not enabled, "verb": "train", "output": "s3://b/o", "clusterSelector": "ray",
        },
    }  # fmt: skip
    dependencies = [
        {"name": name, "condition": f"{name}.enabled"}
        for name in ("darkroom-cluster", "darkroom-job")
    ]
    kinds = {item["kind"] for item in render(umbrella(tmp_path, values, dependencies))}
    assert ("RayCluster" in kinds, "RayJob" in kinds) == (enabled, not enabled)


def test_a_submitter_belongs_to_the_cluster_that_it_submits_to() -> None:
    cluster = render("darkroom-cluster", release="ray")
    other = render("darkroom-cluster", release="other")
    values = GROUND["darkroom-job"] | {"clusterSelector": "ray"}
    job = render("darkroom-job", values, release="job")
    submitter = {name: labels for name, labels in pods(job).items() if "submitter" in name}
    assert selected(cluster, submitter)["NetworkPolicy/ray-submitter"] == set(submitter)
    assert not any(selected(other, submitter).values())
