"""What committed a batch goes when it is published; a job does not fail for what cannot go."""

from __future__ import annotations

from tests.helpers.batch_here import stages_here
from tests.helpers.batch_stages import SCHEMA, SumConfig, rows, stages
from tests.helpers.fault_proxy import Fault, FaultProxy

from darkroom.jobs.batch.job import open_batch
from darkroom.storage import Artifact, open_artifact, open_store

NUM_ROWS = 8


def published(uri: str, proxy: FaultProxy, *faults: Fault) -> Artifact:
    """A batch of two pieces, with these faults while it is published."""
    config = SumConfig(output=uri, piece_rows=NUM_ROWS // 2)
    with stages_here(), open_batch(config, kind="sums", rows=rows(NUM_ROWS), parents=[]) as batch:
        batch.run(stages(), schema=SCHEMA, description="sum", unit="rows")
        with proxy.inject(*faults):
            return batch.publish()


def records(uri: str) -> list[str]:
    return [info.key for info in open_store(uri).list() if "/commits/" in info.key]


def test_records_of_commits_go_when_the_output_is_published(
    bucket_uri: str, fault_proxy: FaultProxy, darkroom_log: list[str]
) -> None:
    published(bucket_uri, fault_proxy).verify()
    assert not records(bucket_uri)
    assert not [line for line in darkroom_log if "stay" in line]


def test_an_output_whose_records_may_not_be_deleted_is_published_with_a_warning(
    bucket_uri: str, fault_proxy: FaultProxy, darkroom_log: list[str]
) -> None:
    # Deleting is the one call of it that is a POST.
    refused = Fault("expired_token", method="POST", count=None)
    artifact = published(bucket_uri, fault_proxy, refused)
    assert refused.num_struck
    assert open_artifact(bucket_uri, kind="sums").digest == artifact.digest
    artifact.verify()
    assert len(records(bucket_uri)) == 2
    (line,) = [line for line in darkroom_log if "stay" in line]
    assert "published" in line
    assert "expired" in line
    assert "\n" not in line
