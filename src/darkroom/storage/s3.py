"""The store over S3: signed, checked and conditional requests, large objects in parts.

Every upload carries its sha256 as the store's own checksum, which the server verifies before
it accepts a byte. Retries of lost or throttled requests are botocore's; a conditional write
whose answer was lost can therefore fail against itself, which `publish.py` and `pointer.py`
recognise by re-reading. Moving large objects is left to `s3_parts.py`.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from darkroom.errors import PreconditionFailedError, StorageError
from darkroom.storage import s3_parts
from darkroom.storage.s3_client import Connection, connect
from darkroom.storage.s3_errors import ConflictError, translate_fault, translated
from darkroom.storage.store import (
    ObjectInfo,
    ObjectStore,
    Pieces,
    Source,
    Unfinished,
    Written,
    source_size,
)
from darkroom.storage.uri import Uri

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from darkroom.storage.s3_lane import Reply

MAX_CONFLICTS = 8
CONFLICT_WAIT_SECONDS = 0.05
DELETE_BATCH = 1000


class S3Store(ObjectStore):
    """Objects of one bucket under one prefix. `brisk`: give up soon, for a preflight."""

    def __init__(self, root: Uri, *, brisk: bool = False) -> None:
        super().__init__(root)
        self.brisk = brisk

    def full_key(self, key: str) -> str:
        """The key within the bucket."""
        return f"{self.root.key}/{key}" if self.root.key else key

    def location(self, key: str) -> dict[str, Any]:
        """Bucket and full key, as boto3 names them. Errors: UriError for a bad key."""
        return {"Bucket": self.root.bucket, "Key": (self.root / key).key}

    @contextmanager
    def request(self, verb: str, key: str) -> Iterator[S3Client]:
        """boto3's client, with its errors translated for `verb` on `key`."""
        connection = self._connection()
        uri = f"{self.root}/{key}" if key else str(self.root)
        with translated(uri, verb, reachable=connection.reachable):
            yield connection.client
        connection.answered = True

    def send_fast(self, method: str, key: str, **options: Any) -> Reply | None:
        """The answer of the short way (`s3_lane.py`), or None: then ask boto3."""
        connection = self._connection()
        location = self.location(key)
        if connection.lane is None:
            return None
        reply = connection.lane.send(method, location["Bucket"], location["Key"], **options)
        connection.answered |= reply is not None
        return reply

    def _connection(self) -> Connection:
        return connect(anonymous=self.root.anonymous, brisk=self.brisk)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        reply = self.send_fast("GET", key)
        if reply is not None:
            return bytes(reply.data), reply.headers["etag"]
        with self.request("read", key) as client:
            answer = client.get_object(**self.location(key))
            return answer["Body"].read(), answer["ETag"]

    def get_range(self, key: str, start: int, length: int, *, etag: str | None = None) -> bytes:
        if length <= 0:
            return b""
        return bytes(self.get_part(key, start, length, etag=etag)[0])

    def get_part(
        self,
        key: str,
        start: int,
        length: int,
        *,
        etag: str | None = None,
        into: memoryview | None = None,
    ) -> tuple[bytes | memoryview, str, int]:
        """A range's bytes (perhaps in `into`), the object's ETag and its whole size."""
        wanted = f"bytes={start}-{start + length - 1}"
        condition = {"if-match": etag} if etag else {}
        reply = self.send_fast("GET", key, headers={"range": wanted, **condition}, into=into)
        if reply is not None:
            total = reply.headers.get("content-range", f"/{len(reply.data)}")
            return reply.data, reply.headers["etag"], _total(total)
        options: dict[str, Any] = {"IfMatch": etag} if etag else {}
        with self.request("read", key) as client:
            answer = client.get_object(**self.location(key), Range=wanted, **options)
            data = answer["Body"].read()
        return data, answer["ETag"], _total(answer.get("ContentRange", f"/{len(data)}"))

    def head(self, key: str) -> ObjectInfo | None:
        reply = self.send_fast("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"})
        if reply is not None:
            return _info(key, reply.headers)
        try:
            with self.request("read", key) as client:
                answer = client.head_object(**self.location(key), ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        return _info(key, answer["ResponseMetadata"]["HTTPHeaders"])

    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        condition: dict[str, Any] = {}
        if if_none_match:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = if_match
        for num_conflicts in range(MAX_CONFLICTS):
            try:
                return str(self._put(key, data, condition)["ETag"])
            except ConflictError:
                time.sleep(CONFLICT_WAIT_SECONDS * 2**num_conflicts)
            except FileNotFoundError:
                # If-Match on an object that is gone.
                raise PreconditionFailedError(f"{self.root / key} was deleted meanwhile") from None
        raise StorageError(
            f"{self.root / key}: {MAX_CONFLICTS} writes met other writers; run it again"
        )

    def _put(self, key: str, data: bytes, condition: dict[str, Any]) -> Any:
        checksum = encode_checksum(hashlib.sha256(data).digest())
        with self.request("write", key) as client:
            return client.put_object(
                **self.location(key), Body=data, ChecksumSHA256=checksum, **condition
            )

    def list(self, prefix: str = "", *, markers: bool = False) -> Iterator[ObjectInfo]:
        skip = len(self.full_key(""))
        for page in self._pages(prefix):
            for item in page.get("Contents", []):
                if markers or not _is_marker(item):
                    yield ObjectInfo(
                        item["Key"][skip:], item["Size"], item["ETag"], item["LastModified"]
                    )

    def children(self, prefix: str = "") -> Iterator[tuple[str, int | None]]:
        skip = len(self.full_key(prefix))
        for page in self._pages(prefix, Delimiter="/"):
            for folder in page.get("CommonPrefixes", []):
                yield folder["Prefix"][skip:], None
            for item in page.get("Contents", []):
                if not _is_marker(item):
                    yield item["Key"][skip:], item["Size"]

    def _pages(self, prefix: str, **options: Any) -> Iterator[Any]:
        token: dict[str, Any] = {}
        while True:
            with self.request("list", prefix) as client:
                page = client.list_objects_v2(
                    Bucket=self.root.bucket, Prefix=self.full_key(prefix), **options, **token
                )
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while batch := list(islice(remaining, DELETE_BATCH)):
            objects: Any = [{"Key": self.full_key(key)} for key in batch]
            with self.request("delete", batch[0]) as client:
                answer = client.delete_objects(
                    Bucket=self.root.bucket, Delete={"Objects": objects, "Quiet": True}
                )
            for fault in answer.get("Errors", []):
                raise translate_fault(fault, uri=str(self.root), verb="delete")

    def upload(self, source: Source, key: str) -> Written:
        size = source_size(source)
        if size > s3_parts.PART_BYTES:
            return s3_parts.upload(self, source, key, size)
        data = source if isinstance(source, bytes) else source.read_bytes()
        digest = hashlib.sha256(data)
        checksum = encode_checksum(digest.digest())
        headers = {"x-amz-checksum-sha256": checksum}
        reply = self.send_fast(
            "PUT", key, headers=headers, body=data, body_sha256=digest.hexdigest()
        )
        etag = reply.headers["etag"] if reply else self._put(key, data, {})["ETag"]
        return Written(key, len(data), digest.hexdigest(), etag, checksum)

    def pieces(self, key: str) -> Pieces:
        return s3_parts.pieces(self, key)

    def _saved(self, key: str, file: BinaryIO) -> Pieces:
        return s3_parts.pieces(self, key, file)

    def unfinished(self) -> Iterator[Unfinished]:
        skip = len(self.full_key(""))
        marker: dict[str, Any] = {}
        while True:
            with self.request("abort uploads", "") as client:
                page = client.list_multipart_uploads(
                    Bucket=self.root.bucket, Prefix=self.full_key(""), **marker
                )
            for item in page.get("Uploads", []):
                yield Unfinished(item["Key"][skip:], item["UploadId"], item["Initiated"])
            if not page.get("IsTruncated"):
                return
            marker = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def abort(self, upload: Unfinished) -> None:
        with self.request("abort uploads", upload.key) as client:
            client.abort_multipart_upload(**self.location(upload.key), UploadId=upload.upload_id)


def encode_checksum(digest: bytes) -> str:
    """A digest as S3 words it."""
    return base64.b64encode(digest).decode()


def _is_marker(item: Any) -> bool:
    """Whether it only shows a folder: other tools make it, and no file can have its name."""
    return bool(item["Key"].endswith("/")) and item["Size"] == 0


def _total(content_range: str) -> int:
    """The whole size in "bytes 0-9/1234"."""
    return int(content_range.rpartition("/")[2])


def _info(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    return ObjectInfo(
        key,
        int(headers["content-length"]),
        headers["etag"],
        parsedate_to_datetime(headers["last-modified"]),
        headers.get("x-amz-checksum-sha256"),
    )
