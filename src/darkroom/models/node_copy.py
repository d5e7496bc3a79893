"""One copy of a model's files on a node, shared by the processes that load it at a time.

    <temporary folder>/darkroom-models-<user>/<key>/files     whole and verified, or not there

The lock `<key>/lock` says who uses it: exclusive while the copy is filled or removed, shared while
it is read. The kernel drops a dead process's locks, so what a killed one left is known by its
lock being free, and goes when the next copy is made. The last that leaves removes the copy: once
loaded, weights are in memory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darkroom.temporary import full_disk_named, temporary_place, unusable_place


@contextmanager
def node_copy(key: str, fill: Callable[[Path], object]) -> Iterator[Path]:
    """The folder that `fill` has filled, by this process or by another that came first.

    key: a digest of what `fill` writes. Errors: those of `fill`; StorageError for a full disk.
    """
    with full_disk_named():
        place, lock = _filled(key, fill)
    try:
        yield place / "files"
    finally:
        _remove_if_unused(place, lock)
        os.close(lock)
        with suppress(OSError):  # other copies are in it
            place.parent.rmdir()


def _filled(key: str, fill: Callable[[Path], object]) -> tuple[Path, int]:
    """The place of a filled copy, and its lock, held as one of those who read."""
    while True:
        place, lock = _opened(key)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_lock_of(place, lock) and (place / "files").is_dir():
                return place, lock
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another may have filled or removed it meanwhile.
            if _is_lock_of(place, lock) and not (place / "files").is_dir():
                _fill(place, fill)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # and from the start: a lock does not become another in one step


def _opened(key: str) -> tuple[Path, int]:
    while True:
        with suppress(FileNotFoundError):  # its last user has just removed it
            place = _own_folder() / key
            place.mkdir(mode=0o700, exist_ok=True)
            return place, os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _own_folder() -> Path:
    """This user's, which nobody else can write to: who can, could change the weights."""
    folder = temporary_place() / f"darkroom-models-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise unusable_place(folder, "is another user's, or others can write to it")
    return folder


def _fill(place: Path, fill: Callable[[Path], object]) -> None:
    """Errors: those of `fill`, after which nothing is left."""
    for other in place.parent.iterdir():  # perhaps of a process that was killed
        if other != place:
            _remove_if_unused(other)
    part = place / "part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        fill(part)
        part.rename(place / "files")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _remove_if_unused(place: Path, lock: int | None = None) -> None:
    own = None
    try:
        if lock is None:
            lock = own = os.open(place / "lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_lock_of(place, lock):
            shutil.rmtree(place, ignore_errors=True)
    except (BlockingIOError, FileNotFoundError):
        pass  # in use, or gone
    finally:
        if own is not None:
            os.close(own)


def _is_lock_of(place: Path, lock: int) -> bool:
    """Whether the lock that was opened is still the one that lies there."""
    try:
        return os.path.samestat(os.fstat(lock), (place / "lock").stat())
    except FileNotFoundError:
        return False
