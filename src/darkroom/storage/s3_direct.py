"""A direct client for the requests that come by the thousand: PUT, GET and HEAD of an object.

boto3 spends about 1.7 ms of CPU on a request, more than the server does, and holds the
interpreter's lock for it. This client has botocore sign the same request and sends it over
urllib3 in a third of that. It tries once: whatever is not a plain success (an error, a redirect, a
lost connection) returns None, and the caller sends the request through boto3, which retries and
explains. So only requests that may be sent twice go here: never a conditional write.

docs/decisions/0010 says why this and not a client in Rust.
"""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from darkroom.storage.store import NUM_THREADS

if TYPE_CHECKING:
    from darkroom.storage.aws_settings import VettedCredentials

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer."""

    headers: Mapping[str, str]
    data: bytes | memoryview
    """A view of the caller's buffer where one was given."""


class _Signer(S3SigV4Auth):
    """botocore's, told the digest of the body: by itself it would hash the body once more."""

    def payload(self, request: Any) -> str:
        return str(request.context["body_sha256"])


class DirectClient:
    """Signed requests to one endpoint. `credentials` None: unsigned.

    `authorities` is a file of the certificates that a server's may be signed by.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        region: str,
        credentials: VettedCredentials | None,
        authorities: str,
        by_path: bool,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
    ) -> None:
        parts = urlsplit(endpoint)
        self._scheme, self._host = parts.scheme, parts.netloc
        self._region = region
        self._credentials = credentials
        self._by_path = by_path
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=2 * NUM_THREADS,
            retries=False,
            ca_certs=authorities,
            timeout=urllib3.Timeout(connect=connect_timeout_seconds, read=read_timeout_seconds),
        )

    def send(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | memoryview | None = None,
        body_sha256: str = EMPTY_SHA256,
        into: memoryview | None = None,
    ) -> Reply | None:
        """The answer if it is a success, else None. Header names are lower case.

        A large answer is received `into` a buffer, without a copy on the way.
        """
        url = self.url(bucket, key, query or {})
        signed = self._signed(method, url, headers or {}, body_sha256)
        try:
            answer = self._pool.request(
                method,
                url,
                body=cast("bytes | None", body),  # urllib3 takes any buffer
                headers=signed,
                redirect=False,
                decode_content=False,
                preload_content=into is None,
            )
            if into is not None:
                return _receive(answer, into)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
            return None
        return Reply(answer.headers, answer.data) if _is_success(answer) else None

    def url(self, bucket: str, key: str, query: Mapping[str, str]) -> str:
        """Where the object is."""
        path = "/" + quote(key, safe="/~")
        if query:
            path += "?" + urlencode(query, safe="", quote_via=quote)
        # A dot in the bucket's name would not match the server's wildcard certificate.
        if self._by_path or "." in bucket:
            return f"{self._scheme}://{self._host}/{bucket}{path}"
        return f"{self._scheme}://{bucket}.{self._host}{path}"

    def _signed(
        self, method: str, url: str, headers: Mapping[str, str], body_sha256: str
    ) -> Mapping[str, str]:
        if self._credentials is None:
            return headers
        request = AWSRequest(method, url, headers=dict(headers))
        request.context["body_sha256"] = body_sha256
        identity = self._credentials.get_frozen_credentials()
        _Signer(identity, "s3", self._region).add_auth(request)
        return dict(request.headers.items())


def _is_success(answer: urllib3.BaseHTTPResponse) -> bool:
    return 200 <= answer.status < 300


def _receive(answer: urllib3.BaseHTTPResponse, into: memoryview) -> Reply | None:
    """Read the body straight into `into`; None when it is not a success, or not whole."""
    plain: http.client.HTTPResponse | None = getattr(answer, "_original_response", None)
    length = int(answer.headers.get("content-length", -1))
    if plain is None or not _is_success(answer) or not 0 <= length <= len(into):
        answer.close()
        return None
    received = 0
    while received < length:
        count = plain.readinto(into[received:length])
        if not count:
            answer.close()
            return None
        received += count
    answer.release_conn()
    return Reply(answer.headers, into[:length])
