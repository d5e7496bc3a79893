"""What the server is asked before anything is applied, and RayJobs that are there already."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.cluster.client import RefusedError
from darkroom.cluster.manifests import check_dry_run, in_order
from darkroom.errors import InputError

Object = dict[str, Any]


def job(entrypoint: str = "darkroom train", **spec: Any) -> Object:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "train"},
        "spec": {"entrypoint": entrypoint, **spec},
    }


class Server:
    """Takes what it is given, but for what lies in namespaces that are not there."""

    namespace = "ml"
    owned = False
    """Whether the operator has written the job, and owns its pools by that."""

    def __init__(self, there: Object | None = None, namespaces: tuple[str, ...] = ("ml",)) -> None:
        self.there, self.namespaces = there, namespaces

    def apply(self, manifest: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        assert dry_run
        if self.owned and not force:
            raise RefusedError("RayJob/train", None, "others have written what this sets")
        namespace = manifest["metadata"].get("namespace", self.namespace)
        if manifest["kind"] != "Namespace" and namespace not in self.namespaces:
            problem = f'refused by the API server: namespaces "{namespace}" not found'
            raise RefusedError(manifest["kind"], None, problem)
        return manifest

    def get(self, *_identity: str) -> Object | None:
        return self.there


def begun(state: str, **changes: Any) -> Object:
    status = {"jobDeploymentStatus": state, "startTime": "2026-11-01T08:00:00Z"}
    return job(**changes) | {"status": status}


@pytest.mark.parametrize("state", ["Initializing", "Running", "Complete", "Failed"])
def test_a_change_of_a_job_that_has_begun_would_never_run(state: str) -> None:
    server = Server(begun(state))
    with pytest.raises(InputError, match=r"RayJob/train: is there already .*2026-11-01.*never run"):
        check_dry_run(server, [job("darkroom train --set max_steps=9")])


@pytest.mark.parametrize("state", ["", "Suspended", "Suspending", "Retrying"])
def test_a_job_that_is_still_to_run_may_change(state: str) -> None:
    assert check_dry_run(Server(begun(state)), [job("other")]) == {}


def test_what_the_operator_reads_as_it_goes_may_change() -> None:
    server = Server(begun("Running", ttlSecondsAfterFinished=10))
    (note,) = check_dry_run(server, [job(ttlSecondsAfterFinished=20, suspend=True)]).values()
    assert "was there already" in note


def test_the_same_job_again_is_the_run_that_was_and_said() -> None:
    pools = [{"groupName": "cpu", "template": {"spec": {}}}]
    written = [{**pools[0], "scaleStrategy": {}, "template": {"metadata": {}, "spec": {}}}]
    server = Server(begun("Complete", rayClusterSpec={"workerGroupSpecs": written}))
    server.owned = True
    (note,) = check_dry_run(server, [job(rayClusterSpec={"workerGroupSpecs": pools})]).values()
    assert "2026-11-01T08:00:00Z, Complete" in note
    assert check_dry_run(Server(None), [job()]) == {}


def test_a_namespace_may_come_with_what_lies_in_it() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    inside = job()
    inside["metadata"]["namespace"] = "new"
    objects = [inside, namespace]
    assert check_dry_run(Server(None), objects) == {}
    assert [item["kind"] for item in in_order(objects)] == ["Namespace", "RayJob"]
    with pytest.raises(RefusedError, match='namespaces "new" not found'):
        check_dry_run(Server(None), [inside])
