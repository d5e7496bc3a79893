"""Reading what submit is given, and refusing before anything is applied."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from darkroom.cluster.manifests import check_rules, in_order, parse, read_manifests
from darkroom.errors import InputError

JOB = """
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: train}
spec: {entrypoint: darkroom train, clusterSelector: {ray.io/cluster: darkroom}}
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def test_a_file_with_several_documents(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f"{JOB}---\n---\n{CONFIG_MAP}")
    objects = read_manifests([str(path)])
    assert [item["kind"] for item in in_order(objects)] == ["ConfigMap", "RayJob"]


def test_a_service_comes_after_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(f"{JOB.replace('RayJob', 'RayService')}---\n{CONFIG_MAP}")
    objects = in_order(read_manifests([str(path)]))
    assert [item["kind"] for item in objects] == ["ConfigMap", "RayService"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(JOB.encode())))
    assert read_manifests(["-"])[0]["metadata"]["name"] == "train"


def test_a_folder_goes_through_kustomize(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "kustomization.yaml").write_text("resources: [job.yaml]\nnamePrefix: my-\n")
    assert read_manifests([str(tmp_path)])[0]["metadata"]["name"] == "my-train"


def test_a_folder_without_kustomization_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not render"):
        read_manifests([str(tmp_path)])


def test_a_list_is_taken_apart() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: b}}\n"
    assert [item["kind"] for item in parse("x", text.encode())] == ["A"]


def test_lists_of_lists_and_of_one_kind_are_taken_apart() -> None:
    text = """
apiVersion: v1
kind: List
items:
- apiVersion: ray.io/v1
  kind: RayJobList
  items: [{metadata: {name: a}}, {apiVersion: v1, kind: Pod, metadata: {name: b}}]
"""
    found = [(item["apiVersion"], item["kind"]) for item in parse("x", text.encode())]
    assert found == [("ray.io/v1", "RayJob"), ("v1", "Pod")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("just text", "apiVersion and kind"),
        ("apiVersion: v1\nkind: [a]\nmetadata: {name: a}\n", "kind is no text"),
        ("apiVersion: v1\nkind: yes\nmetadata: {name: a}\n", "kind is no text"),
        ("apiVersion: 1\nkind: RayJob\nmetadata: {name: a}\n", "apiVersion is no text"),
        ("apiVersion: v1\nkind: Pod\n", "without a name"),
        (CONFIG_MAP, "has no RayJob and no RayService"),
    ],
)
def test_what_is_no_job_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as refused:
        read_manifests([str(path)])
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_what_renders_to_nothing_is_absent() -> None:
    text = "{apiVersion: v1, kind: A, metadata: {name: null, generateName: a-, namespace: null}}"
    (item,) = parse("x", text.encode())
    assert item["metadata"] == {"generateName": "a-"}


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match="No such file"):
        read_manifests(["/nowhere/job.yaml"])


def test_what_the_operator_would_refuse_names_object_and_rule() -> None:
    (job,) = parse("x", JOB.encode())
    job["spec"]["backoffLimit"] = 3
    with pytest.raises(InputError, match=r"RayJob/train \[cluster-selector-backoff\]"):
        check_rules([job])


def test_our_own_policy_only_warns() -> None:
    (job,) = parse("x", JOB.encode())
    container = {"name": "s", "image": "darkroom:latest"}
    job["spec"]["submitterPodTemplate"] = {"spec": {"containers": [container]}}
    assert [warning.rule for warning in check_rules([job])] == ["image-tag-latest"]
