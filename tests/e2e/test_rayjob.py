"""A plain RayJob on the image: a cluster of its own, a worker from zero, success, clean-up."""

from testcluster.client import Kubectl, rayjob_end, wait_for
from tests.helpers.plain_rayjob import LAST_WORD, plain_rayjob


def test_a_rayjob_succeeds_on_a_worker_from_zero(namespace: Kubectl, image: str) -> None:
    namespace.apply(plain_rayjob(image))
    status = rayjob_end(namespace, "squares", seconds=420)
    assert status["jobStatus"] == "SUCCEEDED", status
    assert LAST_WORD in namespace("logs", "--selector=job-name=squares", "--tail=-1")
    wait_for(
        "the cluster's removal",
        lambda: not namespace.list("raycluster"),
        seconds=60,
        explain=namespace.explain,
    )
