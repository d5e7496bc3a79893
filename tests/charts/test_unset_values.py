"""Null, a wrong type and a value of no longer ago than an old release: the schema says so by name.

Helm takes a value away that is set to null, and `--reuse-values` knows no default that is new. What
is then not there must be missed by the schema: a template would fail, or a policy stand open. Helm
names everything that is wrong at once, so one call tries every value of a chart.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from schemas import ROOT
from tools import RenderError, render, tool
from values_file import Entry, leaves, read_entries

CHARTS = ("darkroom-cluster", "darkroom-job", "darkroom-service")
GROUND: dict[str, dict[str, Any]] = {
    "darkroom-cluster": {},
    "darkroom-job": {"verb": "train", "output": "s3://b/run"},
    "darkroom-service": {
        "models": ["s3://b/m"],
        "keys": {"secretName": "keys", "disabled": False},
    },
}
# One of each type that YAML has. None means "unset" and is tried apart.
SAMPLES: tuple[Any, ...] = (True, 7, 0.5, "text", ["text"], {"key": "text"})
# Null means something else than the default there: no limit, and whom the image names.
WHERE_NULL_DIFFERS = ("deadlines", "podSecurity")
each_chart = pytest.mark.parametrize("chart", CHARTS)


@cache
def schema_of(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "charts" / chart / "values.schema.json").read_text())
    return found


def defaults(chart: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "charts" / chart / "values.yaml").read_text())
    return dict(found) | GROUND[chart]


def documented(chart: str) -> list[Entry]:
    """Values with a line of documentation."""
    return leaves(read_entries(ROOT / "charts" / chart / "values.yaml"))


def sections(chart: str) -> list[str]:
    """Places where documented values stand; `global` may be absent, as below an umbrella chart."""
    entries = read_entries(ROOT / "charts" / chart / "values.yaml")
    return [entry.path[-1] for entry in entries if entry.is_section and entry.path != ("global",)]


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The values with one of them replaced."""
    changed = copy.deepcopy(values)
    node = changed
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
    return changed


def may_be_unset(chart: str, entry: Entry) -> bool:
    return entry.default is None or "null" in entry.schema.get("type", "")


def refusal(chart: str, values: dict[str, Any], helm: str = "helm") -> str:
    with pytest.raises(RenderError) as refused:
        render(chart, values, helm=helm)
    assert "don't meet the specifications of the schema" in str(refused.value)
    return str(refused.value)


def missed(message: str) -> set[str]:
    """Dotted values that Helm's message calls missing."""
    found = set()
    for place, names in re.findall(r"at '([^']*)': missing propert(?:y|ies) (.*)", message):
        stem = place.strip("/").replace("/", ".")
        found |= {".".join(filter(None, (stem, name))) for name in re.findall(r"'([^']+)'", names)}
    return found


@each_chart
@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_null_is_missed_by_name(chart: str, helm: str) -> None:
    """Every value at once: Helm's own word that each is missed, or is documented as unset."""
    values = GROUND[chart]
    needed = set()
    for entry in documented(chart):
        if entry.path[0] in ("global", "verb", "output"):
            continue
        values = put(values, entry.path, None)
        if not may_be_unset(chart, entry):
            needed.add(entry.dotted)
    assert len(needed) > 60
    assert missed(refusal(chart, values, helm)) == needed


@each_chart
def test_a_section_set_to_null_is_missed(chart: str) -> None:
    values = GROUND[chart] | dict.fromkeys(sections(chart))
    assert missed(refusal(chart, values)) == set(sections(chart))


@each_chart
def test_what_may_be_unset_means_what_the_default_means(chart: str) -> None:
    """All of them at once."""
    unset = GROUND[chart]
    for entry in documented(chart):
        if may_be_unset(chart, entry) and entry.path[0] not in WHERE_NULL_DIFFERS:
            unset = put(unset, entry.path, None)
    unset |= {"global": None}
    assert render(chart, unset) == render(chart, GROUND[chart])


@each_chart
def test_null_in_a_pool_means_pool_defaults(chart: str) -> None:
    """Also of the fields that are Kubernetes' own."""
    fields = dict.fromkeys(schema_of(chart)["$defs"]["pool"]["properties"])
    assert len(fields) > 60
    ground = GROUND[chart]
    said = render(chart, ground | {"pools": {"cpu": {"maxReplicas": 1}, "gpu": {}}})
    assert render(chart, ground | {"pools": {"cpu": fields, "gpu": fields}}) == said


@each_chart
def test_null_below_a_pools_key_takes_a_default_away(chart: str) -> None:
    pools = {"gpu": {"resources": {"limits": {"memory": None}}}}
    objects = render(chart, GROUND[chart] | {"pools": pools})
    (spec,) = (o["spec"] for o in objects if o["kind"] in ("RayCluster", "RayJob", "RayService"))
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    pod = cluster["workerGroupSpecs"][1]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {}


@each_chart
def test_a_wrong_type_is_refused_by_name(chart: str) -> None:
    """Each value with each type that it has not; then one of them by Helm itself, all at once."""
    validator = Draft7Validator(schema_of(chart))
    ground = defaults(chart)
    assert validator.is_valid(ground)
    all_wrong = GROUND[chart]
    accepted = []
    for entry in documented(chart):
        right = set(types_of(entry, ground))
        wrong = [sample for sample in SAMPLES if kind(sample) not in right]
        assert wrong
        tried = [(sample, put(ground, entry.path, sample)) for sample in wrong]
        accepted += [(entry.dotted, s) for s, values in tried if validator.is_valid(values)]
        # Helm itself drops what is no map where a map was, with a warning, before the schema.
        all_wrong = put(all_wrong, entry.path, next(s for s in wrong if not isinstance(s, dict)))
    assert accepted == []
    message = refusal(chart, all_wrong)
    named = {place.strip("/").replace("/", ".") for place in re.findall(r"at '([^']*)'", message)}
    assert {entry.dotted for entry in documented(chart)} - named == set()


def types_of(entry: Entry, ground: dict[str, Any]) -> list[str]:
    """JSON types that the value may have."""
    reference = entry.schema.get("$ref", "")
    if reference.endswith("/quantity"):
        return ["string", "integer", "number"]
    if reference.endswith("/env"):
        return ["object", "array"]
    told = entry.schema.get("type")
    types = [told] if isinstance(told, str) else list(told or [kind(entry.default)])
    return [*types, "integer"] if "number" in types else types


def kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return (names | {dict: "object", type(None): "null"})[type(value)]


@each_chart
def test_a_field_of_kubernetes_has_its_type(chart: str) -> None:
    validator = Draft7Validator(schema_of(chart))
    ground = defaults(chart)
    fields = set(schema_of(chart)["$defs"]["pool"]["properties"])
    wrong = [
        (name, sample)
        for name in sorted(fields)
        for sample in SAMPLES
        if validator.is_valid(put(ground, ("pools", "cpu", name), sample))
    ]
    refused = fields - {name for name, _ in wrong}
    assert {"volumes", "initContainers", "volumeMounts", "dnsConfig", "lifecycle"} <= refused
    twice = {name for name, _ in wrong if len({kind(s) for n, s in wrong if n == name}) > 3}
    assert twice == set(), "no field takes just anything"


@each_chart
def test_values_of_an_old_release_alone_are_missed_by_name(chart: str, tmp_path: Path) -> None:
    """`--reuse-values` leaves nothing of this version's values.yaml."""
    shutil.copytree(ROOT / "charts" / chart, tmp_path / chart)
    (tmp_path / chart / "values.yaml").write_text(yaml.safe_dump(GROUND[chart]))
    command = [str(tool("helm")), "template", "darkroom", str(tmp_path / chart)]
    command += ["--kube-version", "1.35.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    required = set(schema_of(chart)["required"])
    assert missed(done.stderr) == required - set(GROUND[chart])
    assert "executing" not in done.stderr


def test_without_users_of_ours_root_is_refused_all_the_same() -> None:
    """OpenShift gives each namespace users of its own, and refuses pods that name another."""
    unset = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))
    for item in render("darkroom-cluster", {"podSecurity": unset}):
        if item["kind"] != "RayCluster":
            continue
        pod = item["spec"]["headGroupSpec"]["template"]["spec"]
        for context in (pod["securityContext"], pod["containers"][0]["securityContext"]):
            assert context["runAsNonRoot"] is True
            assert not set(unset) & set(context)
