"""`darkroom submit` of a RayService, with the real API server and operator.

No pod runs here, so no service becomes ready by itself. What the operator says of one that does not
start is its own word. The other states are written by the test, by the status subresource, as
KubeRay 1.6.1 writes them: `managedBy` has told the operator to leave that service alone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testcluster.client import Kubectl, wait_for
from tests.helpers.release import submit, submitting
from tests.helpers.services import service_manifest, write_service_status

SECONDS = 120


def side(cluster: str, state: str, message: str = "") -> dict[str, Any]:
    application = {"status": state, "message": message}
    return {"rayClusterName": cluster, "applicationStatuses": {"darkroom": application}}


@contextmanager
def following(namespace: Kubectl, name: str, logs: Path) -> Iterator[subprocess.Popen[str]]:
    """`darkroom submit --follow`, line by line."""
    command, environment = submitting(namespace, "--follow", name, "--logs", str(logs))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], words: str) -> None:
    """Reads what it says up to a line with these words."""
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"ended without {words!r}: {''.join(said)}")


@pytest.fixture
def managed(namespace: Kubectl) -> Iterator[str]:
    """Name of a new service that the operator leaves alone."""
    text = service_manifest(namespace, "draw", managed=True)
    code, said, _ = submit(namespace, "--no-wait", "-f", "-", stdin=text, seconds=SECONDS)
    assert code == 0, said
    assert f"--namespace {namespace.namespace} --follow draw" in said
    yield "draw"
    namespace("delete", "rayservice", "draw")


def test_an_account_that_is_not_there_is_named(namespace: Kubectl, tmp_path: Path) -> None:
    """Without it the operator makes no pod, and the status says nothing."""
    text = service_manifest(namespace, "orphan")
    assert submit(namespace, "--no-wait", "-f", "-", stdin=text, seconds=SECONDS)[0] == 0
    with following(namespace, "orphan", tmp_path) as process:
        until(process, "ServiceAccount orphan is not found")
    namespace("delete", "rayservice", "orphan")


def test_what_the_operator_says_of_a_service_that_does_not_start(
    namespace: Kubectl, tmp_path: Path
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late"}}
    namespace.apply(account)
    text = service_manifest(namespace, "late", annotations={"ray.io/initializing-timeout": "8s"})
    code, said, _ = submit(
        namespace, "--logs", str(tmp_path), "-f", "-", stdin=text, seconds=SECONDS
    )
    assert code == 1, said
    assert "== late: late-" in said, "the cluster that starts is named"
    assert "== late: failed: InitializingTimeout:" in said.splitlines()[-1]
    (folder,) = (tmp_path / "logs").glob("late-*")
    assert {"report.md", "service.yaml", "events.yaml"} <= {path.name for path in folder.iterdir()}
    assert "RayServiceInitializingTimeout" in (folder / "events.yaml").read_text()


def test_a_service_is_followed_until_it_is_ready(
    managed: str, namespace: Kubectl, tmp_path: Path
) -> None:
    with following(namespace, managed, tmp_path) as process:
        until(process, "== draw: New")
        pending = {"rayClusterName": "draw-aaaaa"}
        write_service_status(
            namespace, managed, "False", "Initializing", pendingServiceStatus=pending
        )
        until(process, "== draw: draw-aaaaa starts")
        pending = side("draw-aaaaa", "DEPLOYING")
        write_service_status(
            namespace, managed, "False", "Initializing", pendingServiceStatus=pending
        )
        until(process, "darkroom DEPLOYING")
        write_service_status(
            namespace, managed, "True", "NonZeroServeEndpoints", numServeEndpoints=2,
            activeServiceStatus=side("draw-aaaaa", "RUNNING"), pendingServiceStatus=None,
        )  # fmt: skip
        until(process, "ready: 2 endpoints on draw-aaaaa")
        assert process.wait(SECONDS) == 0
    assert not list(tmp_path.iterdir()), "a service that serves has left nothing behind"


def test_an_application_that_cannot_be_deployed_ends_it(
    managed: str, namespace: Kubectl, tmp_path: Path
) -> None:
    message = "Deploying app 'darkroom' failed with exception:\nConfigError: models: no such model"
    write_service_status(
        namespace, managed, "False", "Initializing", numServeEndpoints=None,
        activeServiceStatus=None, pendingServiceStatus=side("draw-bbbbb", "DEPLOY_FAILED", message),
    )  # fmt: skip
    code, said, _ = submit(
        namespace, "--follow", f"rayservice/{managed}", "--logs", str(tmp_path), seconds=SECONDS
    )
    assert code == 1, said
    last = said.splitlines()[-1]
    assert last.endswith("darkroom DEPLOY_FAILED: ConfigError: models: no such model")
    assert list(tmp_path.glob("logs/draw-*/report.md"))


def test_cancel_deletes_it_and_an_unknown_name_is_refused(namespace: Kubectl) -> None:
    text = service_manifest(namespace, "gone", managed=True)
    assert submit(namespace, "--no-wait", "-f", "-", stdin=text, seconds=SECONDS)[0] == 0
    code, said, _ = submit(namespace, "--cancel", "gone", seconds=SECONDS)
    assert (code, said) == (0, "cancelled gone\n")
    wait_for(
        "its end",
        lambda: not [s for s in namespace.list("rayservice") if s["metadata"]["name"] == "gone"],
        seconds=SECONDS,
        explain=namespace.explain,
    )
    code, said, _ = submit(namespace, "--follow", "gone", seconds=SECONDS)
    assert code == 2
    assert "no such RayJob or RayService" in said
    assert len(said.splitlines()) == 1
