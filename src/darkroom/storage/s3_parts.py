"""Large objects over S3: parts in parallel, hashed in order while they pass.

One pool of threads serves every transfer of the process and one semaphore bounds the parts
held in memory (`MAX_PARTS_IN_MEMORY * PART_BYTES`). A transfer takes its slots in order, so
the part that it waits for next is always under way and transfers cannot block each other.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from darkroom.errors import DarkroomError, IntegrityError, StorageError
from darkroom.storage.failpoint import failpoint
from darkroom.storage.s3_errors import EmptyRangeError
from darkroom.storage.store import Source, Written

if TYPE_CHECKING:
    from darkroom.storage.s3 import S3Store

PART_BYTES = 16 << 20
MAX_NUM_PARTS = 10_000
MAX_PARTS_IN_MEMORY = 16
NUM_PART_THREADS = 8


class _Transfers:
    """The threads and the memory that all transfers of one process share."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(NUM_PART_THREADS, thread_name_prefix="s3-part")
        self.slots = threading.BoundedSemaphore(MAX_PARTS_IN_MEMORY)


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
        _abort(store, location, upload_id)
        raise
    return Written(key, size, whole.hexdigest(), answer["ETag"], _checksum_of_parts(sent))


def _send_parts(
    store: S3Store, source: Source, *, key: str, upload_id: str, size: int, whole: Any
) -> list[Any]:
    transfers = _transfers()
    futures: list[Future[Any]] = []
    try:
        for number, data in enumerate(_parts(source, size, transfers.slots), start=1):
            future = transfers.pool.submit(_send_part, store, key, upload_id, number, data)
            future.add_done_callback(lambda _: transfers.slots.release())
            futures.append(future)
            whole.update(data)
        return [future.result() for future in futures]
    except BaseException:
        # A part that lands after the abort would stay, unseen and paid for.
        for future in futures:
            future.cancel()
        wait(futures)
        raise


def _parts(source: Source, size: int, slots: threading.BoundedSemaphore) -> Iterator[bytes]:
    """The source in parts, each read once a slot is free for it."""
    length = _part_bytes(size)
    with _reader(source) as file:
        for start in range(0, size, length):
            slots.acquire()
            data = b""
            try:
                data = file.read(length)
            finally:
                if len(data) != min(length, size - start):
                    slots.release()
            if len(data) != min(length, size - start):
                raise StorageError(f"{source!r} changed while it was uploaded")
            yield data


def _reader(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _send_part(store: S3Store, key: str, upload_id: str, number: int, data: bytes) -> Any:
    digest = hashlib.sha256(data)
    checksum = base64.b64encode(digest.digest()).decode()
    reply = store.send_fast(
        "PUT",
        key,
        query={"partNumber": str(number), "uploadId": upload_id},
        headers={"x-amz-checksum-sha256": checksum},
        body=data,
        body_sha256=digest.hexdigest(),
    )
    if reply is not None:
        return {"PartNumber": number, "ETag": reply.headers["etag"], "ChecksumSHA256": checksum}
    with store.request("write", key) as client:
        location: Any = store.location(key)
        answer = client.upload_part(
            **location, UploadId=upload_id, PartNumber=number, Body=data, ChecksumSHA256=checksum
        )
    return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}


def _checksum_of_parts(sent: list[Any]) -> str:
    """S3's composite checksum: the digest of the parts' digests, and their number."""
    digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in sent)
    return f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-{len(sent)}"


def _abort(store: S3Store, location: Any, upload_id: str) -> None:
    # The error that led here is the one to report; gc aborts what is left dangling.
    with suppress(DarkroomError), store.request("abort uploads", "") as client:
        client.abort_multipart_upload(**location, UploadId=upload_id)


def _part_bytes(size: int) -> int:
    return max(PART_BYTES, -(-size // MAX_NUM_PARTS))


def pieces(store: S3Store, key: str) -> Iterator[bytes]:
    """One version of the object in order, later parts fetched ahead."""
    first, etag, size = _first_part(store, key)
    length = len(first)
    yield first
    for data in _ranges(store, key, etag, size):
        length += len(data)
        yield data
    if length != size:
        raise IntegrityError(f"{store.root / key}: read {length} of {size} bytes")


def _first_part(store: S3Store, key: str) -> tuple[bytes, str, int]:
    try:
        return store.get_part(key, 0, PART_BYTES)
    except EmptyRangeError:
        data, etag = store.get_with_etag(key)
        return data, etag, len(data)


def _ranges(store: S3Store, key: str, etag: str, size: int) -> Iterator[bytes]:
    """Everything after the first part, in order, fetched ahead."""
    transfers = _transfers()
    waiting: deque[Future[bytes]] = deque()
    try:
        for start in range(PART_BYTES, size, PART_BYTES):
            # Whoever holds finished parts hands them on before it asks for more memory.
            while not transfers.slots.acquire(blocking=not waiting):
                yield _next_part(waiting, transfers.slots)
            length = min(PART_BYTES, size - start)
            waiting.append(transfers.pool.submit(store.get_range, key, start, length, etag=etag))
        while waiting:
            yield _next_part(waiting, transfers.slots)
    finally:
        for future in waiting:
            future.cancel()
            transfers.slots.release()


def _next_part(waiting: deque[Future[bytes]], slots: threading.BoundedSemaphore) -> bytes:
    try:
        return waiting.popleft().result()
    finally:
        slots.release()
