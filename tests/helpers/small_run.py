"""A run in miniature for fault tests: two checkpoints, a pointer, a model; then all is read."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from darkroom.config import JobConfig
from darkroom.errors import ObjectNotFoundError
from darkroom.storage import Artifact, RunPointer, open_artifact, open_output

NUM_STEPS = 2
FILES = {"data/a": b"a" * 100, "data/b": b"b" * 5000, "data/c": bytes(range(256)) * 300}
CONTENT = FILES | {"state": b"%d" % NUM_STEPS}


def run(uri: str) -> None:
    """Write, or go on with it, and read."""
    write_run(uri)
    read_run(uri)


def write_run(uri: str) -> None:
    """Go on where an earlier call stopped, to the published model."""
    config = JobConfig(output=uri, on_existing="resume")
    pointer = RunPointer.claim(uri, owner="driver", config=config)
    found = pointer.newest_valid()
    for step in range((found.step if found else 0) + 1, NUM_STEPS + 1):
        checkpoint = _publish(
            f"{uri}/checkpoints/step-{step}", "checkpoint", {"state": b"%d" % step}
        )
        pointer.advance(step=step, checkpoint=checkpoint, keep=[])
    final = pointer.newest_valid()
    assert final is not None
    _publish(uri, "model", FILES | {"state": final.artifact.read_bytes("state")})


def read_run(uri: str) -> None:
    """Every byte twice, by both ways of reading; AssertionError where one is wrong."""
    model = open_artifact(uri, kind="model")
    assert {entry.name: model.read_bytes(entry.name) for entry in model.entries()} == CONTENT
    with tempfile.TemporaryDirectory() as folder:
        model.download(folder)
        for name, data in CONTENT.items():
            assert (Path(folder) / name).read_bytes() == data


def check_published(uri: str) -> None:
    """Whatever is published is whole; IntegrityError where it is not."""
    for place in (uri, *(f"{uri}/checkpoints/step-{step}" for step in range(1, NUM_STEPS + 1))):
        try:
            open_artifact(place).verify()
        except ObjectNotFoundError as error:
            if "nothing is published" not in str(error):
                raise


def _publish(uri: str, kind: str, files: Mapping[str, bytes]) -> Artifact:
    """One file by itself, several as a folder: by both ways of writing."""
    config = JobConfig(output=uri, on_existing="resume")
    with open_output(uri, kind=kind, config=config) as output:
        if output.completed is not None:
            return output.completed
        if len(files) == 1:
            return output.publish([output.writer.write_bytes(*item) for item in files.items()])
        with tempfile.TemporaryDirectory() as name:
            for path, data in files.items():
                (Path(name) / path).parent.mkdir(exist_ok=True)
                (Path(name) / path).write_bytes(data)
            return output.publish(output.writer.write_tree(name))
