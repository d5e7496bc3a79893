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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import PreconditionFailedError, StorageError
from darkroom.storage import s3_parts
from darkroom.storage.s3_client import s3_client
from darkroom.storage.s3_errors import ConflictError, translated
from darkroom.storage.store import ObjectInfo, ObjectStore, Source, Unfinished, Written
from darkroom.storage.uri import Uri

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_CONFLICTS = 8
CONFLICT_WAIT_SECONDS = 0.05
DELETE_BATCH = 1000

_answered: set[int] = set()
"""Clients whose server has answered: an outage there is no longer the user's mistake."""


class S3Store(ObjectStore):
    """Objects of one bucket under one prefix. `brisk`: give up soon, for a preflight."""

    def __init__(self, root: Uri, *, brisk: bool = False) -> None:
        super().__init__(root)
        self.brisk = brisk

    @property
    def client(self) -> S3Client:
        """The client for this root's identity and the environment as it is now."""
        return s3_client(anonymous=self.root.anonymous, brisk=self.brisk)

    def full_key(self, key: str) -> str:
        """The key within the bucket."""
        return f"{self.root.key}/{key}" if self.root.key else key

    def location(self, key: str) -> dict[str, Any]:
        """Bucket and full key, as boto3 names them. Errors: UriError for a bad key."""
        return {"Bucket": self.root.bucket, "Key": (self.root / key).key}

    @contextmanager
    def request(self, verb: str, key: str) -> Iterator[S3Client]:
        """The client, with its errors translated for `verb` on `key`."""
        client = self.client
        uri = f"{self.root}/{key}" if key else str(self.root)
        with translated(uri, verb, answered=id(client) in _answered):
            yield client
        _answered.add(id(client))

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        with self.request("read", key) as client:
            answer = client.get_object(**self.location(key))
            return answer["Body"].read(), answer["ETag"]

    def get_range(self, key: str, start: int, length: int, *, etag: str | None = None) -> bytes:
        if length <= 0:
            return b""
        return self.get_part(key, start, length, etag=etag)[0]

    def get_part(
        self, key: str, start: int, length: int, *, etag: str | None = None
    ) -> tuple[bytes, str, int]:
        """A range's bytes, the object's ETag and the object's whole size."""
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        with self.request("read", key) as client:
            answer = client.get_object(
                **self.location(key), Range=f"bytes={start}-{start + length - 1}", **condition
            )
            data = answer["Body"].read()
        total = int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])
        return data, answer["ETag"], total

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self.request("read", key) as client:
                answer = client.head_object(**self.location(key), ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        return ObjectInfo(
            key,
            answer["ContentLength"],
            answer["ETag"],
            answer["LastModified"],
            answer.get("ChecksumSHA256"),
        )

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

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        skip = len(self.full_key(""))
        for page in self._pages(prefix):
            for item in page.get("Contents", []):
                yield ObjectInfo(
                    item["Key"][skip:], item["Size"], item["ETag"], item["LastModified"]
                )

    def children(self, prefix: str = "") -> Iterator[str]:
        skip = len(self.full_key(prefix))
        for page in self._pages(prefix, Delimiter="/"):
            for folder in page.get("CommonPrefixes", []):
                yield folder["Prefix"][skip:]
            for item in page.get("Contents", []):
                yield item["Key"][skip:]

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
                raise StorageError(
                    f"{self.root}: could not delete {fault.get('Key')}: {fault.get('Code')}"
                )

    def upload(self, source: Source, key: str) -> Written:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > s3_parts.PART_BYTES:
            return s3_parts.upload(self, source, key, size)
        data = source if isinstance(source, bytes) else source.read_bytes()
        answer = self._put(key, data, {})
        digest = hashlib.sha256(data)
        checksum = encode_checksum(digest.digest())
        return Written(key, len(data), digest.hexdigest(), answer["ETag"], checksum)

    def download(self, key: str, path: Path) -> str:
        return s3_parts.download(self, key, path)

    def pieces(self, key: str) -> Iterator[bytes]:
        return s3_parts.pieces(self, key)

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
