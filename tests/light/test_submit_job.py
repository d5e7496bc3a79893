"""`darkroom submit` of a RayJob over what is there already, with the real API server and operator.

No pod runs here: a job begins, and waits for its head.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from tests.helpers.release import JOB_CHART, submit

Object = dict[str, Any]
NAME = "train"


def rendered(namespace: Kubectl, *settings: str) -> str:
    values = ["verb=train", "recipe=digits", "output=s3://b/run", *settings]
    flags = [f"--set={value}" for value in values]
    return namespace.template(NAME, JOB_CHART, *flags)


def submitted(namespace: Kubectl, text: str, *options: str) -> tuple[int, str]:
    return submit(namespace, "--no-wait", *options, "-f", "-", stdin=text, seconds=120)[:2]


def entrypoint(namespace: Kubectl) -> str:
    return str(namespace.get("rayjob", NAME)["spec"]["entrypoint"])


@pytest.fixture
def begun(namespace: Kubectl) -> Iterator[None]:
    """A job that the operator has begun."""
    code, said = submitted(namespace, rendered(namespace))
    assert code == 0, said

    def has_begun() -> bool:
        status = namespace.get("rayjob", NAME).get("status", {})
        return bool(status.get("jobDeploymentStatus"))

    wait_for("the operator", has_begun, seconds=60, explain=namespace.explain)
    yield
    namespace("delete", "rayjob", NAME, timeout=60)


@pytest.mark.usefixtures("begun")
def test_a_change_that_would_never_run_is_refused(namespace: Kubectl) -> None:
    before = entrypoint(namespace)
    code, said = submitted(namespace, rendered(namespace, "output=s3://b/other"))
    assert code == 2
    assert "RayJob/train: is there already" in said
    assert "--cancel" in said
    assert entrypoint(namespace) == before


@pytest.mark.usefixtures("begun")
def test_the_same_again_is_the_run_that_is_there(namespace: Kubectl) -> None:
    code, said = submitted(namespace, rendered(namespace))
    assert code == 0
    assert "RayJob/train was there already, just like this" in said


def test_what_kubectl_wrote_is_taken_over_only_when_told_to(namespace: Kubectl) -> None:
    """A job that waits may change; whose field it is, the API server says."""
    text = rendered(namespace, "suspend=true", "cleanup.mode=ttl")
    namespace.apply_text(text)
    other = rendered(namespace, "suspend=true", "cleanup.mode=ttl", "output=s3://b/other")
    code, said = submitted(namespace, other)
    assert code == 2
    assert "--force-conflicts" in said
    assert "s3://b/run" in entrypoint(namespace)
    code, said = submitted(namespace, other, "--force-conflicts")
    assert code == 0, said
    assert "s3://b/other" in entrypoint(namespace)
    namespace("delete", "rayjob", NAME, timeout=60)


def test_a_namespace_comes_with_its_job(cluster: Kubectl, namespace: Kubectl) -> None:
    inner = cluster.within(f"{namespace.namespace}-new")
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": inner.namespace}}
    text = f"{rendered(inner)}\n---\n{json.dumps(own)}"
    code, said = submitted(inner, text)
    assert code == 0, said
    assert inner.get("rayjob", NAME)
    cluster("delete", "namespace", inner.namespace, timeout=120)
