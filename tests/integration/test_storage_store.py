"""What every object store promises, held on local files and on the real S3 server."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import threading
from pathlib import Path

import pytest

from darkroom.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
    StorageError,
    UriError,
)
from darkroom.storage import open_store, parse_uri, s3_parts
from darkroom.storage.s3 import S3Store
from darkroom.storage.s3_client import connect
from darkroom.storage.s3_parts import NUM_BUFFERS

NEVER = '"00000000000000000000000000000000"'


def test_reads_what_was_written(store_uri: str) -> None:
    store = open_store(store_uri)
    etag = store.put("a/b", b"one")
    assert store.get("a/b") == b"one"
    assert store.get_with_etag("a/b") == (b"one", etag)
    assert store.put("a/b", b"two") != etag
    assert store.get("a/b") == b"two"


def test_names_with_every_kind_of_character(store_uri: str) -> None:
    store = open_store(store_uri)
    keys = ["a b", "a+b", "a%20b", "é", "日本", "a&b=c;d", "~tilde", "(x)'[y]", "=", "@:,$!*"]
    for number, key in enumerate(keys):
        store.upload(str(number).encode(), f"names/{key}")
    assert {info.key for info in store.list("names/")} == {f"names/{key}" for key in keys}
    for number, key in enumerate(keys):
        assert store.get(f"names/{key}") == str(number).encode()
        assert store.head(f"names/{key}") is not None


@pytest.mark.parametrize("key", ["../x", "a/../../x", "a//b", "/a", "a/", ""])
def test_a_key_cannot_leave_the_root(store_uri: str, key: str) -> None:
    store = open_store(store_uri)
    with pytest.raises(UriError):
        store.put(key, b"x")
    with pytest.raises(UriError):
        store.get(key)


def test_a_missing_object_is_told_by_its_uri(store_uri: str) -> None:
    store = open_store(store_uri)
    assert store.head("none") is None
    with pytest.raises(ObjectNotFoundError, match="/none does not exist"):
        store.get("none")
    with pytest.raises(ObjectNotFoundError):
        list(store.chunks("none"))
    assert list(store.list()) == []
    assert list(store.children()) == []
    store.delete(["none"])


def test_head_tells_size_version_and_checksum(store_uri: str) -> None:
    store = open_store(store_uri)
    written = store.upload(b"12345", "five")
    info = store.head("five")
    assert info is not None
    assert (info.size, info.etag, info.checksum) == (5, written.etag, written.checksum)
    assert written.sha256 == hashlib.sha256(b"12345").hexdigest()


def test_a_name_is_taken_once(store_uri: str) -> None:
    store = open_store(store_uri)
    store.put("name", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailedError):
        store.put("name", b"second", if_none_match=True)
    assert store.get("name") == b"first"


def test_a_swap_needs_the_version_that_is_there(store_uri: str) -> None:
    store = open_store(store_uri)
    old = store.put("name", b"1")
    new = store.put("name", b"2", if_match=old)
    with pytest.raises(PreconditionFailedError):
        store.put("name", b"3", if_match=old)
    assert store.get("name") == b"2"
    store.delete(["name"])
    with pytest.raises(PreconditionFailedError):
        store.put("name", b"4", if_match=new)
    assert store.head("name") is None


@pytest.mark.parametrize("conditional", ["if_none_match", "if_match"])
def test_of_eight_writers_exactly_one_wins(store_uri: str, conditional: str) -> None:
    store = open_store(store_uri)
    for number in range(5):
        key = f"race-{number}"
        etag = store.put(key, b"start") if conditional == "if_match" else None
        gate = threading.Barrier(8)
        winners: list[bytes] = []

        def write(
            data: bytes,
            *,
            key: str = key,
            etag: str | None = etag,
            gate: threading.Barrier = gate,
            winners: list[bytes] = winners,
        ) -> None:
            gate.wait()
            try:
                store.put(key, data, if_none_match=etag is None, if_match=etag)
            except PreconditionFailedError:
                return
            winners.append(data)

        threads = [threading.Thread(target=write, args=(f"{i}".encode(),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        assert store.get(key) == winners[0]


def test_lists_below_a_prefix_and_one_level(store_uri: str) -> None:
    store = open_store(store_uri)
    sizes = {"a-b": 2, "a/b": 3, "a/c/d": 4, "ab": 5, "b/c": 6}
    for key, size in sizes.items():
        store.put(key, b"x" * size)
    assert {info.key: info.size for info in store.list()} == sizes
    assert {info.key for info in store.list("a/")} == {"a/b", "a/c/d"}
    assert {info.key for info in store.list("a")} == {"a-b", "a/b", "a/c/d", "ab"}
    assert sorted(store.children()) == [("a-b", 2), ("a/", None), ("ab", 5), ("b/", None)]
    assert sorted(store.children("a/")) == [("b", 3), ("c/", None)]
    store.delete([key for key in sizes if key.startswith("a")])
    assert [info.key for info in store.list()] == ["b/c"]


def test_a_root_does_not_see_its_neighbours(store_uri: str) -> None:
    open_store(f"{store_uri}/one-more").put("a", b"1")
    store = open_store(f"{store_uri}/one")
    store.put("b", b"2")
    assert [info.key for info in store.list()] == ["b"]


SMALL_PART = 5 << 20  # the least that S3 takes


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, so that few bytes are many parts."""
    monkeypatch.setattr(s3_parts, "PART_BYTES", SMALL_PART)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    "size", [0, 1, SMALL_PART - 1, SMALL_PART, SMALL_PART + 1, 2 * SMALL_PART + 7]
)
def test_every_size_arrives_whole(store_uri: str, tmp_path: Path, size: int) -> None:
    _assert_arrives(store_uri, tmp_path, os.urandom(size))


def test_parts_of_their_real_size_arrive_whole(bucket_uri: str, tmp_path: Path) -> None:
    _assert_arrives(bucket_uri, tmp_path, os.urandom(s3_parts.PART_BYTES + 7))


def _assert_arrives(uri: str, tmp_path: Path, data: bytes) -> None:
    store, size = open_store(uri), len(data)
    source = tmp_path / "source"
    source.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    for item in (source, data):
        written = store.upload(item, "object")
        assert (written.size, written.sha256) == (size, digest)
        info = store.head("object")
        assert info is not None
        assert (info.size, info.etag, info.checksum) == (size, written.etag, written.checksum)
    target = tmp_path / "target"
    assert store.download("object", target) == digest
    assert target.read_bytes() == data
    assert list(store.unfinished()) == []


def test_ranges(store_uri: str) -> None:
    store = open_store(store_uri)
    etag = store.put("object", bytes(range(100)))
    assert store.get_range("object", 10, 5) == bytes(range(10, 15))
    assert store.get_range("object", 95, 50, etag=etag) == bytes(range(95, 100))
    assert store.get_range("object", 10, 0) == b""
    store.put("object", b"x" * 100)
    with pytest.raises(PreconditionFailedError):
        store.get_range("object", 0, 5, etag=etag)


@pytest.mark.usefixtures("small_parts")
def test_a_download_is_of_one_version_and_may_be_given_up(bucket_uri: str, tmp_path: Path) -> None:
    store = open_store(bucket_uri)
    data = os.urandom(SMALL_PART * 2 + 1)
    store.upload(data, "object")
    for _ in range(NUM_BUFFERS + 1):
        chunks = store.chunks("object")
        next(chunks)
        next(chunks)
        chunks.close()
    assert store.download("object", tmp_path / "whole") == hashlib.sha256(data).hexdigest()
    chunks = store.chunks("object")
    next(chunks)
    store.put("object", data[:-1])
    with pytest.raises(PreconditionFailedError, match="was changed while it was read"):
        list(chunks)


@pytest.mark.usefixtures("small_parts")
def test_many_large_objects_share_the_memory_and_do_not_block(
    bucket_uri: str, tmp_path: Path
) -> None:
    """More transfers at once than there is memory for parts: all must still end."""
    store = open_store(bucket_uri)
    items = [(os.urandom(SMALL_PART + n + 1), f"large/{n}") for n in range(NUM_BUFFERS + 2)]
    written = store.upload_many(items)
    assert [item.sha256 for item in written] == [
        hashlib.sha256(data).hexdigest() for data, _ in items
    ]
    digests = store.download_many([(key, tmp_path / str(n)) for n, (_, key) in enumerate(items)])
    assert digests == [item.sha256 for item in written]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [2000, SMALL_PART + 2000, 2 * SMALL_PART + 2000])
def test_a_disk_that_fills_with_the_last_bytes_is_an_error(
    bucket_uri: str, tmp_path: Path, size: int
) -> None:
    store, target = open_store(bucket_uri), tmp_path / "target"
    written = store.upload(os.urandom(size), "object")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel's limit on a file's size cuts a write short, then fails it: as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1000, before[1]))
    try:
        with pytest.raises(StorageError, match="target: could not write it: File too large"):
            store.download("object", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.download("object", target) == written.sha256


def test_many_small_objects_keep_their_order(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    items = [(f"{n}".encode(), f"small/{n}") for n in range(200)]
    assert [item.key for item in store.upload_many(items)] == [key for _, key in items]
    targets = [(key, tmp_path / f"{n}") for n, (_, key) in enumerate(items)]
    store.download_many(targets)
    assert [path.read_bytes() for _, path in targets] == [data for data, _ in items]


def test_one_failure_among_many_is_raised(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    store.put("there", b"1")
    items = [("there", tmp_path / "a"), ("missing", tmp_path / "b"), ("there", tmp_path / "c")]
    with pytest.raises(ObjectNotFoundError, match="missing"):
        store.download_many(items)


def test_a_store_travels_by_pickle_without_credentials(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(store_uri)
    store.put("a", b"1")
    pickled = pickle.dumps(store)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert os.environ.get(name, "unset").encode() not in pickled
    again = pickle.loads(pickled)  # noqa: S301
    assert again.get("a") == b"1"


@pytest.mark.parametrize("key", ["x", "ä b/~c", "+&=;:@$,!'()*%23#?", "日本語.bin"])
def test_boto3_and_the_direct_client_agree(bucket_uri: str, key: str) -> None:
    """boto3 answers the same as the client that stands in for it."""
    direct, plain = S3Store(parse_uri(bucket_uri)), S3Store(parse_uri(bucket_uri), fail_fast=True)
    assert connect().direct is not None
    assert connect(fail_fast=True).direct is None
    assert direct.upload(b"data", key) == plain.upload(b"data", key)
    assert direct.head(key) == plain.head(key)
    assert direct.get_with_etag(key) == plain.get_with_etag(key)
    assert direct.get_range(key, 1, 2) == plain.get_range(key, 1, 2) == b"at"


@pytest.mark.parametrize("key", ["x", "ä b/~c", "+&=;:@$,!'()*%23#?", "日本語.bin"])
def test_the_direct_client_s_requests_are_accepted(bucket_uri: str, key: str) -> None:
    """Its own, without boto3 behind it."""
    client = connect().direct
    assert client is not None
    root = parse_uri(bucket_uri)
    where = f"{root.key}/{key}"
    digest = hashlib.sha256(b"data").hexdigest()
    assert client.send("PUT", root.bucket, where, body=b"data", body_sha256=digest) is not None
    reply = client.send("GET", root.bucket, where)
    assert reply is not None
    assert reply.data == b"data"


def test_a_bucket_is_not_made_by_writing(bucket_uri: str) -> None:
    missing = open_store("s3://no-such-bucket-here/x")
    with pytest.raises(StorageAccessError, match="the bucket does not exist"):
        missing.put("a", b"1")
    with pytest.raises(StorageAccessError, match="the bucket does not exist"):
        missing.upload(b"1", "a")
    with pytest.raises(StorageAccessError, match="the bucket does not exist"):
        missing.get("a")
    with pytest.raises(StorageAccessError, match="the bucket does not exist"):
        list(missing.list())


def test_damage_on_the_way_is_refused_by_the_server(bucket_uri: str) -> None:
    """The checksum that goes with each upload is verified there."""
    root, client = parse_uri(bucket_uri), connect().direct
    assert client is not None
    wrong = client.send(
        "PUT",
        root.bucket,
        f"{root.key}/x",
        headers={"x-amz-checksum-sha256": "A" * 43 + "="},
        body=b"data",
        body_sha256=hashlib.sha256(b"data").hexdigest(),
    )
    assert wrong is None
    assert open_store(bucket_uri).head("x") is None
