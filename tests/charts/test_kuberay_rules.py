"""One set of fixtures holds rules.py, the charts and the operator to the same verdicts."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import RenderError, operator_verdicts, render

from darkroom.cluster.rules import check_manifest

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "kuberay_rules"
CHARTS = {
    "RayCluster": "darkroom-cluster",
    "RayJob": "darkroom-job",
    "SelectorJob": "darkroom-job",
    "RayService": "darkroom-service",
}
Case = dict[str, Any]


def load_cases() -> list[Case]:
    bases = yaml.safe_load((FIXTURES / "base.yaml").read_text())
    cases = []
    for path in sorted(FIXTURES.glob("*.yaml")):
        if path.name == "base.yaml":
            continue
        group = yaml.safe_load(path.read_text())
        for case in group["cases"]:
            case["id"] = f"{path.stem}: {case['name']}"
            case["chart_name"] = CHARTS[group["base"]]
            case["chart_values"] = group.get("chart_values", {})
            case["manifest"] = changed(bases[group["base"]], case["set"])
            cases.append(case)
    return cases


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with each JSON pointer set, or removed where the value is null."""
    manifest = copy.deepcopy(base)
    for pointer, value in changes.items():
        *parents, last = [part.replace("~1", "/") for part in pointer.split("/")[1:]]
        node: Any = manifest
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is None:
            node.pop(last)
        else:
            node[last] = value
    return manifest


CASES = load_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])


@each_case
def test_rules_find_exactly_what_the_case_breaks(case: Case) -> None:
    found = {finding.rule for finding in check_manifest(case["manifest"])}
    assert found == set(case["breaks"])


def test_the_operator_gives_the_same_verdicts() -> None:
    """In one call: the program starts once and judges every case."""
    judged = [case for case in CASES if case.get("operator") != "skipped"]
    verdicts = operator_verdicts(case["manifest"] for case in judged)
    assert len(verdicts) == len(judged)
    wrong = []
    for case, verdict in zip(judged, verdicts, strict=True):
        refuses = bool(case["breaks"]) and case.get("operator") != "accepts"
        if refuses != bool(verdict["error"]):
            wrong.append(f"{case['id']}: {verdict['error'] or 'accepted'}")
    assert wrong == []


def test_a_finding_of_the_operator_is_one_the_operator_has() -> None:
    """`source` tells submit what to refuse, so it must agree with the fixtures' `operator`."""
    judged = [case for case in CASES if case["breaks"] and case.get("operator") != "skipped"]
    wrong = []
    for case in judged:
        sources = {finding.source for finding in check_manifest(case["manifest"])}
        if ("operator" in sources) == (case.get("operator") == "accepts"):
            wrong.append(case["id"])
    assert wrong == []


with_values = [case for case in CASES if "values" in case]


@pytest.mark.parametrize("case", with_values, ids=[case["id"] for case in with_values])
def test_charts_give_the_same_verdict_at_render_time(case: Case) -> None:
    values = {**case["chart_values"], **case["values"]}
    if not case["breaks"]:
        findings = [f for obj in render(case["chart_name"], values) for f in check_manifest(obj)]
        assert findings == []
        return
    with pytest.raises(RenderError) as refused:
        render(case["chart_name"], values)
    if case.get("chart") == "schema":
        assert "values don't meet the specifications of the schema" in str(refused.value)
        return
    named = re.search(r"\[([a-z0-9.-]+)\] \S+ .+; .+", str(refused.value))
    assert named, str(refused.value)
    assert named[1] in case["breaks"]
    assert len(str(refused.value).splitlines()) == 1


def test_every_rule_has_a_case_that_breaks_it() -> None:
    sources = (Path(__file__).resolve().parents[2] / "src" / "darkroom" / "cluster").glob(
        "*rules.py"
    )
    named = {
        rule
        for path in sources
        for rule in re.findall(r'Finding\(\s*"([a-z0-9-]+)"', path.read_text())
    }
    assert len(named) > 40
    assert named == {rule for case in CASES for rule in case["breaks"]}
