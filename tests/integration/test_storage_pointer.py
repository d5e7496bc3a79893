"""A run's pointer on local files and on the real S3 server: one owner, forward only."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.fault_proxy import Fault, FaultProxy

from darkroom.config import JobConfig, OnExisting
from darkroom.errors import (
    DataError,
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    StorageError,
)
from darkroom.storage import Artifact, Parent, RunPointer, open_artifact, open_output, open_store


class Config(JobConfig):
    size: int = 1


DATA = Parent("data", "s3://bucket/data", "d" * 64, "dataset")


def _config(uri: str, on_existing: OnExisting = "refuse", **values: Any) -> Config:
    return Config(output=uri, on_existing=on_existing, **values)


def _claim(uri: str, owner: str = "driver-1", config: Config | None = None) -> RunPointer:
    return RunPointer.claim(uri, owner=owner, config=config or _config(uri), parents=[DATA])


def _checkpoint(run: str, step: int, tag: str = "a") -> Artifact:
    uri = f"{run}/checkpoints/step-{step:08d}-{tag}"
    with open_output(uri, kind="checkpoint", config=_config(uri), parents=[DATA]) as output:
        entry = output.writer.write_bytes("state.bin", f"{step}{tag}".encode() * 100)
        return output.publish([entry], metadata={"step": step})


def _steps(pointer: RunPointer) -> list[int]:
    return [kept.step for kept in pointer.state.kept]


def test_a_new_run_has_no_checkpoint(store_uri: str) -> None:
    pointer = _claim(store_uri)
    state = RunPointer.attach(store_uri, owner="driver-1").state
    assert state == pointer.state
    assert (state.step, state.checkpoint, state.generation) == (0, None, 1)
    assert pointer.newest_valid() is None


def test_nobody_attaches_to_a_run_that_is_not_claimed(store_uri: str) -> None:
    with pytest.raises(ObjectNotFoundError, match="claim the run first"):
        RunPointer.attach(store_uri, owner="driver-1")


def test_it_moves_forward_and_keeps_what_it_is_told(store_uri: str) -> None:
    _claim(store_uri)
    worker = RunPointer.attach(store_uri, owner="driver-1")
    first = _checkpoint(store_uri, 100)
    best = {"step": 100, "metric": 0.5, "checkpoint": worker.relative(first)}
    worker.advance(step=100, checkpoint=first, best=best)
    worker.advance(step=200, checkpoint=_checkpoint(store_uri, 200))
    assert _steps(worker) == [100, 200]
    third = _checkpoint(store_uri, 300)
    worker.advance(step=300, checkpoint=third, keep=[])
    assert _steps(worker) == [100, 300]  # the best one and the newest one always stay
    state = RunPointer.attach(store_uri, owner="driver-1").state
    assert (state.step, state.checkpoint, state.digest) == (
        300,
        "checkpoints/step-00000300-a",
        third.digest,
    )
    assert state.best is not None
    assert (state.best.step, state.best.metric) == (100, 0.5)
    assert state.retired == ()
    with pytest.raises(ObjectNotFoundError):
        open_artifact(f"{store_uri}/checkpoints/step-00000200-a")
    assert list(open_store(store_uri).list("checkpoints/step-00000200-a/")) == []
    first.verify()


def test_it_never_goes_backwards(store_uri: str) -> None:
    pointer = _claim(store_uri)
    pointer.advance(step=200, checkpoint=_checkpoint(store_uri, 200))
    for step, tag in ((100, "a"), (200, "b")):
        with pytest.raises(StorageError, match=f"does not go back to step {step}"):
            pointer.advance(step=step, checkpoint=_checkpoint(store_uri, step, tag))
    assert RunPointer.attach(store_uri, owner=pointer.owner).state.step == 200


def test_advancing_twice_is_advancing_once(store_uri: str) -> None:
    pointer = _claim(store_uri)
    checkpoint = _checkpoint(store_uri, 100)
    first = pointer.advance(step=100, checkpoint=checkpoint)
    assert pointer.advance(step=100, checkpoint=checkpoint) == first


def test_a_checkpoint_of_another_run_is_refused(store_uri: str) -> None:
    pointer = _claim(f"{store_uri}/one")
    with pytest.raises(DataError, match="is not one of this run"):
        pointer.advance(step=100, checkpoint=_checkpoint(f"{store_uri}/two", 100))


def test_the_newest_driver_wins_and_the_older_one_is_fenced(store_uri: str) -> None:
    old = _claim(store_uri, "driver-1")
    old_worker = RunPointer.attach(store_uri, owner="driver-1")
    old.advance(step=100, checkpoint=_checkpoint(store_uri, 100))
    new = _claim(store_uri, "driver-2")
    assert (new.state.generation, new.state.step) == (2, 100)
    late = _checkpoint(store_uri, 200)
    for fenced in (old, old_worker):
        with pytest.raises(FencedError, match=r"driver driver-2 took this run over"):
            fenced.advance(step=200, checkpoint=late)
    with pytest.raises(FencedError):
        RunPointer.attach(store_uri, owner="driver-1")
    assert RunPointer.attach(store_uri, owner="driver-2").state.step == 100
    new.advance(step=200, checkpoint=late)


def test_claiming_twice_is_claiming_once(store_uri: str) -> None:
    assert _claim(store_uri).state == _claim(store_uri).state


def test_another_config_is_refused_with_its_field(store_uri: str) -> None:
    _claim(store_uri)
    with pytest.raises(OutputExistsError) as caught:
        _claim(store_uri, "driver-2", _config(store_uri, size=2))
    assert caught.value.field == "size"
    with pytest.raises(OutputExistsError) as caught:
        RunPointer.claim(store_uri, owner="driver-2", config=_config(store_uri), parents=[])
    assert caught.value.field == "parents.data"


def test_overwriting_begins_anew_and_a_rerun_of_it_goes_on(store_uri: str) -> None:
    first = _claim(store_uri)
    first.advance(step=100, checkpoint=_checkpoint(store_uri, 100))
    config = _config(store_uri, "overwrite", size=2)
    second = _claim(store_uri, "driver-2", config)
    assert (second.state.step, second.state.generation) == (0, 2)
    second.advance(step=50, checkpoint=_checkpoint(store_uri, 50))
    # The driver died; the same command again, as a RayJob's retry gives it.
    third = _claim(store_uri, "driver-3", config)
    assert (third.state.step, third.state.generation) == (50, 3)
    with open_output(store_uri, kind="model", config=config) as output:
        output.publish([output.writer.write_bytes("model/x", b"1")])
    # Published meanwhile: the same command now asks for a new run.
    fourth = _claim(store_uri, "driver-4", config)
    assert (fourth.state.step, fourth.state.generation) == (0, 4)


def _damage(artifact: Artifact, how: str) -> None:
    store, key = artifact.store, artifact.manifest.files[0].key
    data = store.get(key)
    if how == "flip":
        store.put(key, bytes([data[0] ^ 1]) + data[1:])
    elif how == "truncate":
        store.put(key, data[:-1])
    elif how == "delete":
        store.delete([key])
    elif how == "manifest gone":
        store.delete(["manifest.json"])
    else:
        store.put("manifest.json", b'{"version": 1')


@pytest.mark.parametrize("how", ["flip", "truncate", "delete", "manifest gone", "manifest cut"])
@pytest.mark.parametrize("download", [False, True])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    store_uri: str, tmp_path: Path, how: str, download: bool
) -> None:
    pointer = _claim(store_uri)
    checkpoints = [_checkpoint(store_uri, step) for step in (100, 200, 300)]
    for step, checkpoint in zip((100, 200, 300), checkpoints, strict=True):
        pointer.advance(step=step, checkpoint=checkpoint)
    _damage(checkpoints[2], how)
    _damage(checkpoints[1], "flip")
    folder = tmp_path / "restored" if download else None
    found = RunPointer.attach(store_uri, owner="driver-1").newest_valid(folder)
    assert found is not None
    assert (found.step, found.artifact.digest) == (100, checkpoints[0].digest)
    assert [skipped.step for skipped in found.skipped] == [300, 200]
    assert all(skipped.checkpoint in skipped.reason for skipped in found.skipped)
    if folder is not None:
        assert (folder / "state.bin").read_bytes() == b"100a" * 100
    # The run may pass the damaged steps again.
    pointer = RunPointer.attach(store_uri, owner=pointer.owner)
    assert (pointer.state.step, _steps(pointer)) == (100, [100])
    pointer.advance(step=200, checkpoint=_checkpoint(store_uri, 200, "b"))
    assert _steps(pointer) == [100, 200]


def test_when_no_checkpoint_is_usable_each_is_named(store_uri: str) -> None:
    pointer = _claim(store_uri)
    for step in (100, 200):
        checkpoint = _checkpoint(store_uri, step)
        pointer.advance(step=step, checkpoint=checkpoint)
        _damage(checkpoint, "flip")
    with pytest.raises(IntegrityError, match=r"step 200: .*; step 100: .*--overwrite"):
        pointer.newest_valid()


def test_ranks_that_find_the_damage_together_agree(store_uri: str) -> None:
    pointer = _claim(store_uri)
    for step in (100, 200):
        checkpoint = _checkpoint(store_uri, step)
        pointer.advance(step=step, checkpoint=checkpoint)
    _damage(checkpoint, "flip")
    ranks = [RunPointer.attach(store_uri, owner="driver-1") for _ in range(4)]
    found: list[int] = []

    def resolve(rank: RunPointer) -> None:
        valid = rank.newest_valid()
        assert valid is not None
        found.append(valid.step)

    threads = [threading.Thread(target=resolve, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [100] * 4
    assert RunPointer.attach(store_uri, owner=pointer.owner).state.step == 100


def test_of_eight_drivers_that_claim_at_once_one_owns_the_run(store_uri: str) -> None:
    gate = threading.Barrier(8)
    claimed: list[RunPointer] = []

    def claim(number: int) -> None:
        gate.wait()
        claimed.append(_claim(store_uri, f"driver-{number}"))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pointer.state.generation for pointer in claimed) == list(range(1, 9))
    owners = []
    checkpoint = _checkpoint(store_uri, 100)
    for pointer in claimed:
        try:
            pointer.advance(step=100, checkpoint=checkpoint)
            owners.append(pointer)
        except FencedError:
            pass
    assert [pointer.state.generation for pointer in owners] == [8]


def test_lost_answers_are_recognised(bucket_uri: str, fault_proxy: FaultProxy) -> None:
    lost = Fault("lost_answer", method="PUT", suffix="/latest.json")
    with fault_proxy.inject(lost):
        pointer = _claim(bucket_uri)
    assert lost.num_struck == 1
    assert pointer.state.generation == 1
    checkpoint = _checkpoint(bucket_uri, 100)
    lost = Fault("lost_answer", method="PUT", suffix="/latest.json")
    with fault_proxy.inject(lost):
        pointer.advance(step=100, checkpoint=checkpoint)
    assert lost.num_struck == 1
    assert RunPointer.attach(bucket_uri, owner="driver-1").state == pointer.state
    pointer.advance(step=200, checkpoint=_checkpoint(bucket_uri, 200), keep=[])
    assert _steps(pointer) == [200]


def test_a_damaged_pointer_is_named(store_uri: str) -> None:
    _claim(store_uri)
    open_store(store_uri).put("latest.json", b"{")
    with pytest.raises(IntegrityError, match=r"latest\.json is not a JSON run pointer"):
        RunPointer.attach(store_uri, owner="driver-1")
    open_store(store_uri).put("latest.json", b'{"version": 7}')
    with pytest.raises(DataError, match=r"7.* another schema version than 1"):
        RunPointer.attach(store_uri, owner="driver-1")
