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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from darkroom.errors import PreconditionFailedError, StorageError
from darkroom.storage import answered, s3_parts
from darkroom.storage.s3_client import Connection, connect, has_answered
from darkroom.storage.s3_direct import Reply
from darkroom.storage.s3_errors import ConflictError, translate_fault, translated
from darkroom.storage.store import (
    Chunks,
    ObjectInfo,
    ObjectStore,
    Source,
    Unfinished,
    Written,
    source_size,
)
from darkroom.storage.uri import Uri

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_CONFLICTS = 8
CONFLICT_WAIT_SECONDS = 0.05
DELETE_BATCH = 1000


# The operations that may be sent twice: by which method, and to do what.
_OPERATIONS = {
    "get_object": ("GET", "read"),
    "head_object": ("HEAD", "read"),
    "put_object": ("PUT", "write"),
    "upload_part": ("PUT", "write"),
}
# What boto3's parameters are called in a request.
_HEADERS = {
    "Range": "range",
    "IfMatch": "if-match",
    "ChecksumMode": "x-amz-checksum-mode",
    "ChecksumSHA256": "x-amz-checksum-sha256",
}
_QUERY = {"PartNumber": "partNumber", "UploadId": "uploadId"}


class S3Store(ObjectStore):
    """Objects of one bucket under one prefix. `fail_fast`: give up soon, for a preflight."""

    def __init__(self, root: Uri, *, fail_fast: bool = False) -> None:
        super().__init__(root)
        self.fail_fast = fail_fast

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it says whether the server has answered this one."""
        state = {"fail_fast": self.fail_fast}
        return _sent if has_answered() else type(self), (self.root,), state

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
        connection.note_answer()

    def send(
        self,
        operation: str,
        key: str,
        *,
        body: bytes | memoryview | None = None,
        into: memoryview | None = None,
        **parameters: Any,
    ) -> Reply:
        """The answer of the direct client, or where it has none of boto3, which explains why.

        `parameters` are boto3's; header names of the answer are lower case. Its data may lie in
        the buffer `into`.
        """
        connection, location = self._connection(), self.location(key)
        if connection.direct is not None:
            checksum = parameters.get("ChecksumSHA256")
            digest = {"body_sha256": base64.b64decode(checksum).hex()} if checksum else {}
            reply = connection.direct.send(
                _OPERATIONS[operation][0],
                location["Bucket"],
                location["Key"],
                query={_QUERY[name]: str(parameters[name]) for name in _QUERY.keys() & parameters},
                headers={_HEADERS[name]: parameters[name] for name in _HEADERS.keys() & parameters},
                body=body,
                into=into,
                **digest,
            )
            if reply is not None:
                connection.note_answer()
                return reply
        return self._ask(operation, key, body=body, **parameters)

    def _ask(
        self,
        operation: str,
        key: str,
        *,
        body: bytes | memoryview | None = None,
        **parameters: Any,
    ) -> Reply:
        """boto3's answer."""
        if body is not None:
            parameters["Body"] = bytes(body)
        with self.request(_OPERATIONS[operation][1], key) as client:
            answer = getattr(client, operation)(**self.location(key), **parameters)
            data = answer["Body"].read() if "Body" in answer else b""
        return Reply(answer["ResponseMetadata"]["HTTPHeaders"], data)

    def _connection(self) -> Connection:
        return connect(anonymous=self.root.anonymous, fail_fast=self.fail_fast)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        reply = self.send("get_object", key)
        return bytes(reply.data), reply.headers["etag"]

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
        version: dict[str, Any] = {"IfMatch": etag} if etag else {}
        wanted = f"bytes={start}-{start + length - 1}"
        reply = self.send("get_object", key, into=into, Range=wanted, **version)
        # "bytes 0-9/1234", or nothing where the server sends the whole object.
        size = reply.headers.get("content-range", f"/{len(reply.data)}").rpartition("/")[2]
        return reply.data, reply.headers["etag"], int(size)

    def head(self, key: str) -> ObjectInfo | None:
        try:
            headers = self.send("head_object", key, ChecksumMode="ENABLED").headers
        except FileNotFoundError:
            return None
        return ObjectInfo(
            key,
            int(headers["content-length"]),
            headers["etag"],
            parsedate_to_datetime(headers["last-modified"]),
            headers.get("x-amz-checksum-sha256"),
        )

    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> str:
        parameters = {"ChecksumSHA256": s3_parts.encode_checksum(hashlib.sha256(data))}
        if if_none_match:
            parameters["IfNoneMatch"] = "*"
        if if_match is not None:
            parameters["IfMatch"] = if_match
        for num_conflicts in range(MAX_CONFLICTS):
            try:
                return self._ask("put_object", key, body=data, **parameters).headers["etag"]
            except ConflictError:
                time.sleep(CONFLICT_WAIT_SECONDS * 2**num_conflicts)
            except FileNotFoundError:
                # If-Match on an object that is gone.
                raise PreconditionFailedError(f"{self.root / key} was deleted meanwhile") from None
        raise StorageError(
            f"{self.root / key}: {MAX_CONFLICTS} writes met other writers; run it again"
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
        checksum = s3_parts.encode_checksum(digest)
        reply = self.send("put_object", key, body=data, ChecksumSHA256=checksum)
        return Written(key, len(data), digest.hexdigest(), reply.headers["etag"], checksum)

    def chunks(self, key: str) -> Chunks:
        return s3_parts.chunks(self, key)

    def _saved(self, key: str, file: BinaryIO) -> Chunks:
        return s3_parts.chunks(self, key, file)

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


def _sent(root: Uri) -> S3Store:
    """A store from a process that has had answers."""
    answered.tell()
    return S3Store(root)


def _is_marker(item: Any) -> bool:
    """Whether it only shows a folder: other tools make it, and no file can have its name."""
    return bool(item["Key"].endswith("/")) and item["Size"] == 0
