"""Large objects over S3: parts in parallel, hashed in order while they pass.

One pool of threads serves every transfer of the process, and a fixed number of buffers bounds
the parts in memory (`NUM_BUFFERS * PART_BYTES`). A transfer takes its buffers in the order of
its parts, and one that holds finished parts hands them on before it waits for more, so
transfers cannot block each other.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import queue
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO

from darkroom.errors import DarkroomError, IntegrityError, StorageError
from darkroom.storage.failpoint import failpoint
from darkroom.storage.s3_errors import EmptyRangeError
from darkroom.storage.store import Chunks, Source, Unfinished, Written

if TYPE_CHECKING:
    from darkroom.storage.s3 import S3Store

PART_BYTES = 16 << 20
MAX_NUM_PARTS = 10_000
NUM_BUFFERS = 16
NUM_PART_THREADS = 8


class _Buffers:
    """A fixed number of buffers, made when first needed and used again."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[bytearray | None] = queue.LifoQueue()
        for _ in range(NUM_BUFFERS):
            self._free.put(None)

    def take(self, size: int) -> bytearray:
        """A buffer of at least `size` bytes, when one is free."""
        return _at_least(self._free.get(), size)

    def take_now(self, size: int) -> bytearray | None:
        """The same if one is free now."""
        try:
            return _at_least(self._free.get_nowait(), size)
        except queue.Empty:
            return None

    def give_back(self, buffer: bytearray, _: Future[Any] | None = None) -> None:
        """Let another part have it; an unusually large one is let go."""
        self._free.put(buffer if len(buffer) <= PART_BYTES else None)


def _at_least(buffer: bytearray | None, size: int) -> bytearray:
    return buffer if buffer is not None and len(buffer) >= size else bytearray(size)


class _Transfers:
    """The threads and the memory that all transfers of one process share."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(NUM_PART_THREADS, thread_name_prefix="s3-part")
        self.buffers = _Buffers()


@cache
def _transfers_of(_pid: int) -> _Transfers:
    return _Transfers()


def _transfers() -> _Transfers:
    # A forked child has no copy of its parent's threads.
    return _transfers_of(os.getpid())


def upload(store: S3Store, source: Source, key: str, size: int) -> Written:
    """Multipart upload with a sha256 of each part; aborted when it fails."""
    location: Any = store.location(key)
    with store.request("write", key) as client:
        upload_id = client.create_multipart_upload(**location, ChecksumAlgorithm="SHA256")[
            "UploadId"
        ]
    try:
        whole = hashlib.sha256()
        sent = _send_parts(store, source, key=key, upload_id=upload_id, size=size, whole=whole)
        failpoint("s3.before-complete")
        with store.request("write", key) as client:
            answer = client.complete_multipart_upload(
                **location, UploadId=upload_id, MultipartUpload={"Parts": sent}
            )
    except BaseException:
        # The error that led here is the one to report; gc aborts what is left dangling.
        with suppress(DarkroomError):
            store.abort(Unfinished(key, upload_id, datetime.now(UTC)))
        raise
    return Written(key, size, whole.hexdigest(), answer["ETag"], _checksum_of_parts(sent))


def _send_parts(
    store: S3Store, source: Source, *, key: str, upload_id: str, size: int, whole: Any
) -> list[Any]:
    transfers = _transfers()
    futures: list[Future[Any]] = []
    try:
        for number, (buffer, data) in enumerate(_parts(source, size, transfers.buffers), start=1):
            future = transfers.pool.submit(_send_part, store, key, upload_id, number, data)
            futures.append(future)
            whole.update(data)
            future.add_done_callback(partial(transfers.buffers.give_back, buffer))
        return [future.result() for future in futures]
    except BaseException:
        # A part that lands after the abort would stay, unseen and paid for.
        _call_off(futures)
        raise


def _parts(source: Source, size: int, buffers: _Buffers) -> Iterator[tuple[bytearray, memoryview]]:
    """The source in parts, each read once into a buffer when one is free."""
    length = _part_bytes(size)
    with _reader(source) as file:
        for start in range(0, size, length):
            buffer = buffers.take(length)
            view = memoryview(buffer)[: min(length, size - start)]
            if file.readinto(view) != len(view):
                buffers.give_back(buffer)
                raise StorageError(f"{source!r} changed while it was uploaded")
            yield buffer, view


def _reader(source: Source) -> io.BufferedIOBase:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _send_part(store: S3Store, key: str, upload_id: str, number: int, data: memoryview) -> Any:
    checksum = encode_checksum(hashlib.sha256(data))
    part: dict[str, Any] = {"PartNumber": number, "ChecksumSHA256": checksum}
    reply = store.send("upload_part", key, body=data, UploadId=upload_id, **part)
    return {**part, "ETag": reply.headers["etag"]}


def _checksum_of_parts(sent: list[Any]) -> str:
    """S3's composite checksum: the digest of the parts' digests, and their number."""
    digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in sent)
    return f"{encode_checksum(hashlib.sha256(digests))}-{len(sent)}"


def encode_checksum(digest: hashlib._Hash) -> str:
    """A digest as S3 words it."""
    return base64.b64encode(digest.digest()).decode()


def _part_bytes(size: int) -> int:
    return max(PART_BYTES, -(-size // MAX_NUM_PARTS))


def chunks(store: S3Store, key: str, file: BinaryIO | None = None) -> Chunks:
    """One version of the object in order, later parts fetched ahead.

    Each chunk is valid until the next one is asked for. `file` gets every chunk at its place, by
    the thread that fetched it: so parts are written while the caller hashes earlier ones.
    """
    first, etag, size = _first_part(store, key)
    length = len(first)
    _write_at(file, first, 0)
    yield first
    for data in _later_parts(store, key, etag, size, file):
        length += len(data)
        yield data
    if length != size:
        raise IntegrityError(f"{store.root / key}: read {length} of {size} bytes")


def _first_part(store: S3Store, key: str) -> tuple[bytes | memoryview, str, int]:
    try:
        return store.get_part(key, 0, PART_BYTES)
    except EmptyRangeError:
        data, etag = store.get_with_etag(key)
        return data, etag, len(data)


_Fetch = tuple[bytearray, Future[bytes | memoryview]]


def _later_parts(store: S3Store, key: str, etag: str, size: int, file: BinaryIO | None) -> Chunks:
    transfers = _transfers()
    buffers = transfers.buffers
    waiting: deque[_Fetch] = deque()

    def fetch(start: int, length: int, into: memoryview) -> bytes | memoryview:
        data, _, _ = store.get_part(key, start, length, etag=etag, into=into)
        _write_at(file, data, start)
        return data

    try:
        for start in range(PART_BYTES, size, PART_BYTES):
            buffer = buffers.take_now(PART_BYTES)
            while buffer is None and waiting:
                yield from _hand_on(waiting, buffers)
                buffer = buffers.take_now(PART_BYTES)
            buffer = buffer or buffers.take(PART_BYTES)
            length, into = min(PART_BYTES, size - start), memoryview(buffer)
            waiting.append((buffer, transfers.pool.submit(fetch, start, length, into)))
        while waiting:
            yield from _hand_on(waiting, buffers)
    finally:
        # The caller closes the file next: nothing may still write there.
        _call_off([future for _, future in waiting])
        for buffer, _ in waiting:
            buffers.give_back(buffer)


def _call_off(futures: Sequence[Future[Any]]) -> None:
    """Cancel what has not begun, and see the rest end."""
    for future in futures:
        future.cancel()
    wait(futures)


def _write_at(file: BinaryIO | None, data: bytes | memoryview, start: int) -> None:
    if file is None:
        return
    left = memoryview(data)
    while left:
        written = os.pwrite(file.fileno(), left, start)
        left, start = left[written:], start + written


def _hand_on(waiting: deque[_Fetch], buffers: _Buffers) -> Chunks:
    """The next part in order; its buffer is free again once the caller comes back."""
    buffer, future = waiting.popleft()
    try:
        yield future.result()
    finally:
        buffers.give_back(buffer)
