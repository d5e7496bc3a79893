"""gc removes what nobody can read, and nothing else, on local files and on the real S3 server."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom.config import JobConfig
from darkroom.errors import UriError
from darkroom.storage import (
    Artifact,
    GcReport,
    Parent,
    RunPointer,
    gc,
    open_artifact,
    open_output,
    open_store,
)
from darkroom.storage.garbage import DEFAULT_AGE, _Survey
from darkroom.storage.s3 import S3Store

NOW = timedelta(seconds=-2)


def _config(uri: str, **values: Any) -> JobConfig:
    return JobConfig(output=uri, **values)


def _publish(
    uri: str, data: bytes = b"data", kind: str = "dataset", parents: tuple[Parent, ...] = ()
) -> Artifact:
    config = _config(uri, on_existing="overwrite")
    with open_output(uri, kind=kind, config=config, parents=parents) as output:
        return output.publish([output.writer.write_bytes("data/x", data)])


def _abandon(uri: str) -> str:
    """An attempt that crashed before its manifest; its prefix."""
    output = open_output(uri, kind="dataset", config=_config(uri, on_existing="overwrite"))
    output.writer.write_bytes("data/x", b"12345")
    output.writer.write_bytes("data/y", b"12345")
    return f"attempts/{output.attempt}/"


def _keys(report: GcReport) -> set[tuple[str, str]]:
    return {(item.kind, item.key) for item in report.garbage}


def test_an_abandoned_attempt_is_shown_then_removed(store_uri: str) -> None:
    kept = _publish(store_uri)
    prefix = _abandon(store_uri)
    shown = gc(store_uri, NOW)
    assert _keys(shown) == {("attempt", prefix)}
    assert (shown.garbage[0].num_objects, shown.num_bytes, shown.deleted) == (2, 10, False)
    assert "dry run" in shown.text()
    assert len(list(open_store(store_uri).list(prefix))) == 2
    removed = gc(store_uri, NOW, delete=True)
    assert (removed.num_bytes, removed.deleted) == (10, True)
    assert list(open_store(store_uri).list(prefix)) == []
    kept.verify()
    assert gc(store_uri, NOW).garbage == []
    assert json.loads(json.dumps(removed.to_dict()))["num_bytes"] == 10


def test_what_is_younger_than_a_day_stays(store_uri: str) -> None:
    prefix = _abandon(store_uri)
    assert gc(store_uri, delete=True).garbage == []
    assert len(list(open_store(store_uri).list(prefix))) == 2


def test_an_attempt_is_as_old_as_its_newest_part(local_uri: str) -> None:
    prefix = _abandon(local_uri)
    folder = Path(local_uri.removeprefix("file://")) / prefix
    yesterday = (folder / "data/x").stat().st_mtime - 25 * 3600
    os.utime(folder / "data/x", (yesterday, yesterday))
    assert gc(local_uri).garbage == []
    os.utime(folder / "data/y", (yesterday, yesterday))
    assert _keys(gc(local_uri)) == {("attempt", prefix)}


def test_what_is_written_to_while_gc_looks_elsewhere_stays(local_uri: str) -> None:
    """Between the listing and the deletion a job that was idle for long goes on."""
    prefix = _abandon(local_uri)
    store = open_store(local_uri)
    folder = Path(local_uri.removeprefix("file://")) / prefix
    for path in (folder / "data/x", folder / "data/y"):
        os.utime(path, (0, 0))
    survey = _Survey(store, datetime.now(UTC) - DEFAULT_AGE)
    (found,) = survey.attempts()
    store.put(f"{prefix}data/z", b"still at work")
    assert list(survey.keys_of(found)) == []
    assert survey.notes == [f"{prefix} was left alone: it was written to just now"]


def test_an_overwritten_artifacts_files_go(store_uri: str) -> None:
    old = _publish(store_uri, b"old")
    new = _publish(store_uri, b"new")
    report = gc(store_uri, NOW, delete=True)
    assert _keys(report) == {("attempt", f"attempts/{old.manifest.attempt}/")}
    new.verify()


def test_one_call_looks_after_every_output_below(store_uri: str) -> None:
    kept = [_publish(f"{store_uri}/{name}") for name in ("data", "model")]
    abandoned = {
        ("attempt", f"{name}/{_abandon(f'{store_uri}/{name}')}") for name in ("data", "new")
    }
    assert _keys(gc(store_uri, NOW, delete=True)) == abandoned
    for artifact in kept:
        artifact.verify()


def test_folders_of_others_are_left_alone(store_uri: str) -> None:
    store = open_store(store_uri)
    others = ["attempts/first/x", "attempts/x", "notes/attempts/abc/y", "manifest.txt"]
    for key in others:
        store.put(key, b"1")
    assert gc(store_uri, NOW, delete=True).garbage == []
    assert {info.key for info in store.list()} == set(others)


def test_the_inside_of_an_output_is_refused(store_uri: str) -> None:
    artifact = _publish(store_uri)
    for inside in ("attempts", f"attempts/{artifact.manifest.attempt}"):
        with pytest.raises(UriError, match="is inside an output"):
            gc(f"{store_uri}/{inside}", NOW, delete=True)
    artifact.verify()


def test_an_unreadable_manifest_protects_its_attempts(store_uri: str) -> None:
    artifact = _publish(store_uri)
    open_store(store_uri).put("manifest.json", b"{")
    report = gc(store_uri, NOW, delete=True)
    assert report.garbage == []
    assert "was left alone" in report.text()
    assert open_store(store_uri).get(artifact.entry("data/x").key) == b"data"


def test_checkpoints_that_the_pointer_does_not_name_go(store_uri: str) -> None:
    run = f"{store_uri}/run"
    pointer = RunPointer.claim(run, owner="driver", config=_config(run))
    named = [_publish(f"{run}/checkpoints/step-{n}-a", kind="checkpoint") for n in (1, 2, 3)]
    for step, checkpoint in enumerate(named, start=1):
        pointer.advance(step=step, checkpoint=checkpoint)
    crashed = _publish(f"{run}/checkpoints/step-4-a", kind="checkpoint")
    begun = f"run/checkpoints/step-5-a/{_abandon(f'{run}/checkpoints/step-5-a')}"
    used = _publish(f"{run}/checkpoints/step-6-a", kind="checkpoint")
    model = _publish(run, kind="model", parents=(used.as_parent("checkpoint"),))
    report = gc(store_uri, NOW, delete=True)
    assert _keys(report) == {("checkpoint", "run/checkpoints/step-4-a/"), ("attempt", begun)}
    for artifact in (*named, used, model):
        open_artifact(artifact.uri).verify()
    assert list(open_store(crashed.uri).list()) == []


def test_checkpoints_without_a_pointer_are_left_alone(store_uri: str) -> None:
    checkpoint = _publish(f"{store_uri}/checkpoints/step-1-a", kind="checkpoint")
    assert gc(store_uri, NOW, delete=True).garbage == []
    checkpoint.verify()


def test_unfinished_uploads_are_aborted(bucket_uri: str) -> None:
    store = S3Store(open_store(bucket_uri).root)
    ours, other = f"attempts/{'0' * 32}/data/x", "photos/large.tif"
    for key in (ours, other):
        with store.request("write", key) as client:
            client.create_multipart_upload(**store.location(key))
    assert gc(bucket_uri).garbage == []
    report = gc(bucket_uri, NOW, delete=True)
    assert _keys(report) == {("upload", ours)}
    assert [upload.key for upload in store.unfinished()] == [other]


def test_unfinished_local_writes_are_removed(local_uri: str) -> None:
    artifact = _publish(local_uri)
    half = Path(local_uri.removeprefix("file://")) / ".0123.darkroom-tmp"
    half.write_bytes(b"half")
    assert gc(local_uri).garbage == []
    assert _keys(gc(local_uri, NOW, delete=True)) == {("upload", half.name)}
    assert not half.exists()
    artifact.verify()
