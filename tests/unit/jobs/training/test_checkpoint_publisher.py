"""Saving is a collective: rank 0 takes part in it whatever has become of the publishing."""

from __future__ import annotations

from pathlib import Path

from darkroom.config import JobConfig
from darkroom.jobs.artifacts.checkpoint import CheckpointInfo
from darkroom.jobs.training.checkpoint import CheckpointPlace, CheckpointPublisher, RunAddress
from darkroom.jobs.training.metrics_log import MetricsLog
from darkroom.storage import RunPointer, open_store


def test_a_publisher_that_has_ended_still_writes_the_state_and_keeps_nothing(
    local_uri: str,
) -> None:
    config = JobConfig(output=local_uri)
    RunPointer.claim(local_uri, owner="driver", config=config)
    publisher = CheckpointPublisher(
        RunAddress(local_uri, "driver"), config=config, parents=[], keep_last=1, asynchronous=False
    )
    publisher.ended = "fault"
    written: list[Path] = []

    def write_state(path: Path) -> CheckpointPlace:
        path.write_bytes(b"state")
        written.append(path)
        return CheckpointPlace.new(local_uri, 5)

    info = CheckpointInfo(step=5, epoch=0, seconds=1.0, validation_loss=None, finished=False)
    publisher.save(write_state, MetricsLog(), info)
    publisher.close()
    assert len(written) == 1
    assert not written[0].parent.exists()
    assert not list(open_store(local_uri).list("checkpoints/"))
