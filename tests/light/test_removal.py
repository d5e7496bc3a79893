"""A release with Redis is removed at once, and what its cluster kept there still goes after it.

The operator starts the Job that removes the keys when the head has ended, under the head's account
(docs/decisions/0020). No Redis is here, and no node to run the Job's pod: that there is a pod is
what an account that went with the release would have prevented.
"""

from __future__ import annotations

import json

from testcluster.client import Kubectl, wait_for
from tests.helpers.release import NAME, OF_RELEASE, Object, Release

REDIS = "gcsFaultToleranceOptions.redisAddress=redis:6379"
SECONDS = 180


def remove_by_hand(namespace: Kubectl, account: Object) -> None:
    """As documented: once the cluster is gone the account is removed, and nothing is left."""
    ended = json.dumps([{"op": "remove", "path": "/metadata/finalizers"}])
    namespace.run("patch", "raycluster", NAME, "--type=json", f"--patch={ended}")
    wait_for(
        "no cluster",
        lambda: not namespace.list("raycluster"),
        seconds=SECONDS,
        explain=namespace.explain,
    )
    namespace("delete", "serviceaccount", account["metadata"]["name"])


def test_the_job_that_removes_the_keys_gets_its_pod(namespace: Kubectl) -> None:
    release = Release(namespace)
    release.upgrade(REDIS)
    wait_for(
        "a head", lambda: release.pods_asked_for("head"), seconds=SECONDS, explain=namespace.explain
    )
    done = namespace.helm("uninstall", NAME)
    assert done.returncode == 0, done.stderr
    (pod,) = wait_for(
        "a pod of the Job",
        lambda: namespace.list("pods", "ray.io/node-type=redis-cleanup"),
        seconds=SECONDS,
        explain=namespace.explain,
    )
    (account,) = namespace.list("serviceaccount", OF_RELEASE)
    assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    remove_by_hand(namespace, account)
    release.upgrade()
    release.uninstall()


def test_the_account_stays_where_the_options_went_shortly_before(namespace: Kubectl) -> None:
    """A service's old cluster, which has them, may end after the release."""
    release = Release(namespace)
    release.upgrade(REDIS)
    release.upgrade()
    release.upgrade()
    done = namespace.helm("uninstall", NAME)
    assert done.returncode == 0, done.stderr
    (account,) = namespace.list("serviceaccount", OF_RELEASE)
    remove_by_hand(namespace, account)
