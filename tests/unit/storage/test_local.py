"""What is particular to local paths: names taken in one step, nothing half-written in sight."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import darkroom
from darkroom.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
    StorageError,
)
from darkroom.storage import open_store
from darkroom.storage.local import LOCK_NAME


def test_writing_leaves_nothing_but_the_object(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("a/b", b"1", if_none_match=True)
    store.upload(b"2", "a/c")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "c"]


def test_deleting_the_last_object_removes_its_folders(tmp_path: Path) -> None:
    store = open_store(tmp_path / "root")
    etag = store.put("a/b/c", b"1")
    store.put("a/b/c", b"2", if_match=etag)  # leaves a lock file beside it
    store.delete(["a/b/c"])
    assert list((tmp_path / "root").iterdir()) == []


def test_locks_and_unfinished_writes_are_not_listed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    etag = store.put("pointer", b"1")
    store.put("pointer", b"2", if_match=etag)
    assert (tmp_path / LOCK_NAME).exists()
    (tmp_path / ".0123.darkroom-tmp").write_bytes(b"half")
    assert [info.key for info in store.list()] == ["pointer"]
    assert [name for name, _ in store.children()] == ["pointer"]
    assert [upload.key for upload in store.unfinished()] == [".0123.darkroom-tmp"]


def test_a_name_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("a/b", b"1")
    with pytest.raises(StorageAccessError, match="cannot be a file here"):
        store.put("a", b"1")
    with pytest.raises(StorageAccessError, match="cannot be a file here"):
        store.put("a/b/c", b"1")
    assert store.head("a") is None
    assert store.head("a/b/c") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageAccessError, match="permission denied"):
            open_store(tmp_path).put("a/b", b"1")
    finally:
        tmp_path.chmod(0o700)


def test_a_write_that_does_not_fit_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    # The kernel's limit on a file's size fails the same call as a full disk.
    program = (
        "import resource, sys\n"
        "from darkroom.errors import StorageError\n"
        "from darkroom.storage import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    store.upload(b'x' * 5000, 'a/b')\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={"PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_download_onto_a_full_disk_names_the_path(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("a", b"1")
    with pytest.raises(StorageError, match="/dev/full: could not write it: No space left"):
        store.download("a", Path("/dev/full"))


def test_uploading_what_is_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="nowhere is not a file"):
        open_store(tmp_path).upload(tmp_path / "nowhere", "a")


def test_swaps_from_many_threads_lose_no_update(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("count", b"0")

    def add(times: int) -> None:
        while times:
            data, etag = store.get_with_etag("count")
            try:
                store.put("count", str(int(data) + 1).encode(), if_match=etag)
            except PreconditionFailedError:
                continue
            times -= 1

    threads = [threading.Thread(target=add, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("count") == b"40"


def test_a_name_that_is_too_long_is_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.head("x" * 300) is None
    with pytest.raises(StorageAccessError, match=r"cannot be a file here \(File name too long\)"):
        store.put("x" * 300, b"1")
