"""Publishing on local files and on the real S3 server: all or nothing, and exactly one winner."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers.fault_proxy import Fault, FaultProxy

from darkroom.config import JobConfig, OnExisting, operational
from darkroom.errors import (
    DarkroomError,
    DataError,
    IntegrityError,
    ObjectNotFoundError,
    OutputExistsError,
    PreconditionFailedError,
    UriError,
)
from darkroom.storage import Artifact, open_artifact, open_output, open_store


class Config(JobConfig):
    size: int = 1
    memory: int = operational(default=0)


def _config(uri: str, on_existing: OnExisting = "refuse", **values: Any) -> Config:
    return Config(output=uri, on_existing=on_existing, **values)


def _publish(uri: str, data: bytes = b"data", **options: Any) -> Artifact:
    config = options.pop("config", _config(uri))
    with open_output(uri, kind="dataset", config=config, **options) as output:
        return output.publish([output.writer.write_bytes("data/x", data, rows=1)], rows=1)


def test_readers_see_nothing_until_it_is_published(store_uri: str) -> None:
    with open_output(store_uri, kind="dataset", config=_config(store_uri)) as output:
        entry = output.writer.write_bytes("data/x", b"1", rows=1, metadata={"split": "train"})
        with pytest.raises(ObjectNotFoundError, match="nothing is published"):
            open_artifact(store_uri)
        published = output.publish([entry], rows=1, metadata={"classes": ["a"]})
    artifact = open_artifact(store_uri, kind="dataset")
    assert artifact.manifest == published.manifest
    assert artifact.digest == published.digest
    assert artifact.entry("data/x").metadata == {"split": "train"}
    assert artifact.read_bytes("data/x") == b"1"


def test_leaving_without_publishing_shows_nothing(store_uri: str) -> None:
    def fail() -> None:
        with open_output(store_uri, kind="dataset", config=_config(store_uri)) as output:
            output.writer.write_bytes("data/x", b"1")
            raise RuntimeError("the job failed")

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(ObjectNotFoundError):
        open_artifact(store_uri)
    assert _publish(store_uri).read_bytes("data/x") == b"data"


def test_the_manifest_tells_everything(store_uri: str) -> None:
    parent = _publish(f"{store_uri}/data").as_parent("data")
    artifact = _publish(f"{store_uri}/more", parents=[parent])
    manifest = artifact.manifest
    assert manifest.parents == (parent,)
    assert manifest.config["size"] == 1
    assert manifest.config_digest == _config("elsewhere").digest
    assert len(manifest.code_digest) == 64
    entry = artifact.entry("data/x")
    assert entry.key == f"attempts/{manifest.attempt}/data/x"
    assert (entry.size, entry.rows, manifest.rows) == (4, 1, 1)


def test_what_is_published_is_refused(store_uri: str) -> None:
    _publish(store_uri, b"first")
    with pytest.raises(OutputExistsError, match="give --resume to keep it, --overwrite") as caught:
        _publish(store_uri, b"second")
    assert caught.value.exit_code == 2
    assert open_artifact(store_uri).read_bytes("data/x") == b"first"


def test_resume_finds_the_work_done(store_uri: str) -> None:
    first = _publish(store_uri)
    config = _config(store_uri, "resume", memory=5)
    with open_output(store_uri, kind="dataset", config=config) as output:
        assert output.completed is not None
        assert output.completed.digest == first.digest


def test_resume_under_another_config_names_the_field(store_uri: str) -> None:
    _publish(store_uri)
    with pytest.raises(OutputExistsError, match="begun with 1") as caught:
        open_output(store_uri, kind="dataset", config=_config(store_uri, "resume", size=2))
    assert (caught.value.field, caught.value.value) == ("size", 2)


def test_resume_from_other_input_names_the_role(store_uri: str) -> None:
    data = f"{store_uri}/data"
    old = _publish(data, b"1").as_parent("data")
    new = _publish(data, b"2", config=_config(data, "overwrite")).as_parent("data")
    _publish(f"{store_uri}/o", parents=[old])
    with pytest.raises(OutputExistsError) as caught:
        open_output(
            f"{store_uri}/o",
            kind="dataset",
            config=_config(f"{store_uri}/o", "resume"),
            parents=[new],
        )
    assert caught.value.field == "parents.data"


def test_resume_of_another_kind_is_refused(store_uri: str) -> None:
    _publish(store_uri)
    with pytest.raises(OutputExistsError, match="a dataset is published here"):
        open_output(store_uri, kind="model", config=_config(store_uri, "resume"))


def test_overwrite_swaps_and_old_files_stay_until_gc(store_uri: str) -> None:
    old = _publish(store_uri, b"first")
    new = _publish(store_uri, b"second", config=_config(store_uri, "overwrite"))
    assert open_artifact(store_uri).digest == new.digest
    assert open_artifact(store_uri).read_bytes("data/x") == b"second"
    assert old.read_bytes("data/x") == b"first"  # a reader that is under way still may


def test_an_overwrite_that_was_overtaken_loses(store_uri: str) -> None:
    _publish(store_uri, b"first")
    config = _config(store_uri, "overwrite")
    slow = open_output(store_uri, kind="dataset", config=config)
    entry = slow.writer.write_bytes("data/x", b"slow")
    _publish(store_uri, b"quick", config=config)
    with pytest.raises(PreconditionFailedError, match="another job published here first"):
        slow.publish([entry])
    assert open_artifact(store_uri).read_bytes("data/x") == b"quick"


def test_a_prefix_with_other_things_is_refused(store_uri: str) -> None:
    open_store(store_uri).put("photos/holiday.jpg", b"1")
    with pytest.raises(OutputExistsError, match=r"holds other files already \(photos/\)"):
        _publish(store_uri)
    _publish(store_uri, config=_config(store_uri, "overwrite"))
    assert open_store(store_uri).get("photos/holiday.jpg") == b"1"


def test_an_output_that_is_also_an_input_is_refused(store_uri: str) -> None:
    data = _publish(store_uri)
    with pytest.raises(UriError, match="is also the job's data"):
        _publish(store_uri, parents=[data.as_parent("data")])


def test_an_anonymous_output_is_refused() -> None:
    uri = "s3://anonymous@some-bucket/x"
    with pytest.raises(UriError, match="anonymous user cannot write"):
        open_output(uri, kind="dataset", config=_config(uri))


def test_another_kind_is_refused_by_readers(store_uri: str) -> None:
    _publish(store_uri)
    with pytest.raises(DataError, match="holds a dataset; give the URI of a model"):
        open_artifact(store_uri, kind="model")
    with pytest.raises(DataError, match="holds a dataset; give the URI of an evaluation"):
        open_artifact(store_uri, kind="evaluation")


def test_a_file_named_twice_is_refused(store_uri: str) -> None:
    with open_output(store_uri, kind="dataset", config=_config(store_uri)) as output:
        entry = output.writer.write_bytes("x", b"1")
        with pytest.raises(DataError, match="named twice"):
            output.publish([entry, entry])


@pytest.mark.parametrize("name", ["../x", "/x", "x/", "", "a//b", "a/../../../b"])
def test_a_file_name_cannot_leave_the_attempt(store_uri: str, name: str) -> None:
    output = open_output(store_uri, kind="dataset", config=_config(store_uri))
    with pytest.raises((DataError, UriError)):
        output.writer.write_bytes(name, b"1")
    assert list(open_store(store_uri).list()) == []


def test_a_part_that_vanished_is_not_published(store_uri: str) -> None:
    output = open_output(store_uri, kind="dataset", config=_config(store_uri))
    entry = output.writer.write_bytes("x", b"1")
    open_store(store_uri).delete([entry.key])
    with pytest.raises(IntegrityError, match="the store holds nothing"):
        output.publish([entry])
    with pytest.raises(ObjectNotFoundError):
        open_artifact(store_uri)


def test_writers_travel_to_other_processes(store_uri: str) -> None:
    output = open_output(store_uri, kind="dataset", config=_config(store_uri))
    writer = pickle.loads(pickle.dumps(output.writer))  # noqa: S301
    entries = [writer.write_bytes(f"part-{n}", bytes([n])) for n in range(3)]
    artifact = output.publish(pickle.loads(pickle.dumps(entries)))  # noqa: S301
    assert [artifact.read_bytes(f"part-{n}") for n in range(3)] == [b"\0", b"\1", b"\2"]


def test_a_tree_goes_up_and_comes_down(store_uri: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    contents = {"a": b"1", "sub/b": b"", "sub/deep/c d": b"3" * 1000}
    for name, data in contents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    with open_output(store_uri, kind="model", config=_config(store_uri)) as output:
        entries = output.writer.write_tree(source, prefix="model/")
        artifact = output.publish([*entries, output.writer.write_bytes("other", b"x")])
    plain = artifact.download(tmp_path / "down", prefix="model/")
    found = {
        path.relative_to(plain).as_posix(): path.read_bytes()
        for path in plain.rglob("*")
        if path.is_file()
    }
    assert found == contents
    whole = artifact.download(tmp_path / "whole", prefix="model/", strip_prefix=False)
    assert (whole / "model/a").read_bytes() == b"1"
    with pytest.raises(ObjectNotFoundError, match="no files below 'none/'"):
        artifact.download(tmp_path / "none", prefix="none/")


def test_parquet_is_read_whole_and_by_row_group(store_uri: str) -> None:
    table = pa.table({"id": [str(n) for n in range(1000)], "label": list(range(1000))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=100, write_page_checksum=True)
    with open_output(store_uri, kind="dataset", config=_config(store_uri)) as output:
        entry = output.writer.write_bytes("data/part.parquet", buffer.getvalue(), rows=1000)
        artifact = output.publish([entry])
    assert artifact.read_table("data/part.parquet") == table
    file = artifact.parquet_file("data/part.parquet")
    assert file.num_row_groups == 10
    assert file.read_row_group(7, columns=["label"])["label"].to_pylist() == list(range(700, 800))
    # One byte changed within a page: the page's own checksum tells.
    column = file.metadata.row_group(7).column(1)
    last = column.data_page_offset + column.total_compressed_size - 1
    data = bytearray(buffer.getvalue())
    data[last - (column.data_page_offset - column.dictionary_page_offset)] ^= 1
    open_store(store_uri).put(entry.key, bytes(data))
    damaged = artifact.parquet_file("data/part.parquet")
    with pytest.raises(IntegrityError, match=r"data/part\.parquet .* CRC"):
        damaged.read_row_group(7)
    with pytest.raises(IntegrityError, match="CRC"):
        list(damaged.iter_batches())
    assert damaged.read_row_group(6).num_rows == 100
    with pytest.raises(IntegrityError, match="sha256"):
        artifact.read_table("data/part.parquet")
    open_store(store_uri).delete([entry.key])
    with pytest.raises(ObjectNotFoundError):
        damaged.read_row_group(5)


def test_of_eight_jobs_exactly_one_publishes(store_uri: str) -> None:
    for number in range(3):
        uri = f"{store_uri}/{number}"
        gate = threading.Barrier(8)
        results: list[Artifact | DarkroomError] = []

        def race(
            i: int,
            uri: str = uri,
            gate: threading.Barrier = gate,
            results: list[Artifact | DarkroomError] = results,
        ) -> None:
            results.append(_race(uri, i, gate))

        _together(race)
        winners = [result for result in results if isinstance(result, Artifact)]
        losers = [result for result in results if isinstance(result, PreconditionFailedError)]
        assert (len(winners), len(losers)) == (1, 7)
        published = open_artifact(uri)
        assert published.manifest.attempt == winners[0].manifest.attempt
        published.verify()
        assert all(winners[0].manifest.attempt in str(loser) for loser in losers)


def _race(uri: str, number: int, gate: threading.Barrier) -> Artifact | DarkroomError:
    output = open_output(uri, kind="dataset", config=_config(uri))
    entry = output.writer.write_bytes("data/x", f"{number}".encode())
    gate.wait()
    try:
        return output.publish([entry])
    except DarkroomError as error:
        return error


def _together(work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_lost_answer_to_the_manifest_is_a_success(
    bucket_uri: str, fault_proxy: FaultProxy
) -> None:
    output = open_output(bucket_uri, kind="dataset", config=_config(bucket_uri))
    entry = output.writer.write_bytes("data/x", b"1")
    lost = Fault("lost_answer", method="PUT", suffix="/manifest.json")
    with fault_proxy.inject(lost):
        artifact = output.publish([entry])
    assert lost.num_struck == 1
    assert open_artifact(bucket_uri).digest == artifact.digest


def test_a_lost_answer_to_an_overwrite_is_a_success(
    bucket_uri: str, fault_proxy: FaultProxy
) -> None:
    _publish(bucket_uri, b"first")
    config = _config(bucket_uri, "overwrite")
    output = open_output(bucket_uri, kind="dataset", config=config)
    entry = output.writer.write_bytes("data/x", b"second")
    lost = Fault("lost_answer", method="PUT", suffix="/manifest.json")
    with fault_proxy.inject(lost):
        output.publish([entry])
    assert lost.num_struck == 1
    assert open_artifact(bucket_uri).read_bytes("data/x") == b"second"


def test_a_lost_answer_to_a_part_is_written_again(bucket_uri: str, fault_proxy: FaultProxy) -> None:
    output = open_output(bucket_uri, kind="dataset", config=_config(bucket_uri))
    lost = [Fault("lost_answer", method=method, suffix="/data/x") for method in ("PUT", "HEAD")]
    with fault_proxy.inject(*lost):
        artifact = output.publish([output.writer.write_bytes("data/x", b"1")])
    assert [fault.num_struck for fault in lost] == [1, 1]
    artifact.verify()
