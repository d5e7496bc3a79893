"""The darkroom-job chart through `darkroom submit`: own clusters, endings, what stays in S3."""

from typing import Any

import pytest
from testcluster.client import wait_for
from tests.helpers.release import Release, submit

from darkroom.storage import open_artifact, open_store

SMALL = "recipe=digits_smoke"


def _cluster_is_gone(release: Release, job: str) -> None:
    wait_for(
        f"the removal of {job}'s own cluster",
        lambda: not release.kubectl.list("raycluster", f"ray.io/originated-from-cr-name={job}"),
        seconds=180,
        explain=release.kubectl.explain,
    )


@pytest.mark.smoke
def test_a_job_on_its_own_cluster_leaves_only_its_data(release: Release, s3: str) -> None:
    """Workers come from zero, the cluster goes afterwards, and what was published stays."""
    uri = f"{s3}/own-cluster"
    settings = ["verb=prepare", SMALL, f"output={uri}", "cleanup.ttlSeconds=1"]
    # A head without CPUs: the job's tasks need a worker.
    manifests = release.rayjob("own-cluster", *settings, own_cluster=True)
    code, said, _ = submit(release.kubectl, "-f", "-", stdin=manifests)
    assert code == 0, said
    assert "own-cluster: succeeded" in said
    reached = release.kubectl.get("rayjob", "own-cluster")["status"]
    assert reached["jobStatus"] == "SUCCEEDED"
    _cluster_is_gone(release, "own-cluster")
    assert open_artifact(uri, kind="dataset").manifest.files


def test_a_failed_jobs_traceback_outlives_its_cluster(release: Release, s3: str) -> None:
    uri = f"{s3}/failed"
    settings = ["verb=train", SMALL, f"input={s3}/nothing-here", f"output={uri}"]
    settings += ["cleanup.ttlSeconds=1", "args={--debug}"]
    manifests = release.rayjob("failed", *settings, own_cluster=True)
    code, said, _ = submit(release.kubectl, "-f", "-", stdin=manifests)
    assert code == 1, said
    last = said.strip().splitlines()[-1]
    assert "nothing-here" in last, said
    _cluster_is_gone(release, "failed")
    kept = open_store(uri)
    (driver_log,) = (item.key for item in kept.list("logs/") if item.key.endswith("driver.log"))
    text = kept.get(driver_log).decode()
    assert "Traceback (most recent call last)" in text
    assert "nothing-here" in text


def test_an_image_that_is_not_there_is_explained_within_a_minute(release: Release, s3: str) -> None:
    settings = ["verb=prepare", SMALL, f"output={s3}/no-image"]
    settings += ["image.repository=localhost/no-such-image", "image.tag=v1"]
    manifests = release.rayjob("no-image", *settings)
    code, said, seconds = submit(release.kubectl, "-f", "-", stdin=manifests)
    assert code == 1, said
    assert seconds < 60, said
    assert "localhost/no-such-image:v1" in said.strip().splitlines()[-1], said
    release.kubectl("delete", "rayjob", "no-image", timeout=60)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clusterSelector": {}, "rayClusterSpec": None}, "clusterSelector"),
        ({"ttlSecondsAfterFinished": 5}, "shutdownAfterJobFinishes"),
    ],
)
def test_what_kuberay_would_refuse_is_refused_before_anything_is_applied(
    change: dict[str, Any], words: str, release: Release, s3: str
) -> None:
    import yaml

    manifests = list(
        yaml.safe_load_all(release.rayjob("refused", "verb=prepare", SMALL, f"output={s3}/refused"))
    )
    for item in manifests:
        if item["kind"] == "RayJob":
            item["spec"] |= change
    code, said, _ = submit(release.kubectl, "-f", "-", stdin=yaml.safe_dump_all(manifests))
    assert code == 2, said
    assert words in said
    assert "nothing was applied" in said
    assert release.kubectl.run("get", "rayjob", "refused").returncode != 0
