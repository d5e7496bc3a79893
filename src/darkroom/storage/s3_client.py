"""The boto3 client behind every S3 request: credentials, endpoint, retries, limits.

Credentials come from the AWS default chain and are never read, shown or stored here.
`AWS_ENDPOINT_URL_S3` (or `AWS_ENDPOINT_URL`) names another server, which is then addressed by
path. Clients are cached per process and environment, because building one costs 0.2 s.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from darkroom.errors import StorageAccessError
from darkroom.storage.store import NUM_THREADS

if TYPE_CHECKING:
    from botocore.config import Config as BotoConfig
    from mypy_boto3_s3.client import S3Client

DEFAULT_REGION = "us-east-1"
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
PATIENT_ATTEMPTS = 10
BRISK_ATTEMPTS = 2
"""A preflight answers soon; a job's own requests outlast a server's restart."""

_ENVIRONMENT = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
_clients: dict[tuple[Any, ...], S3Client] = {}
_lock = threading.Lock()


def s3_client(*, anonymous: bool = False, brisk: bool = False) -> S3Client:
    """A client for the environment as it is now. Errors: StorageAccessError."""
    environment = tuple(os.environ.get(name) for name in _ENVIRONMENT)
    # A forked child must not share its parent's connections.
    identity = (os.getpid(), environment, anonymous, brisk)
    with _lock:
        if identity not in _clients:
            _clients[identity] = _build(anonymous=anonymous, brisk=brisk)
        return _clients[identity]


def custom_endpoint() -> str | None:
    """The endpoint that the environment names. Errors: StorageAccessError when it is unfit."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        endpoint = os.environ.get(name)
        if endpoint:
            _check_endpoint(name, endpoint)
            return endpoint
    return None


def _check_endpoint(name: str, endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StorageAccessError(
            name, endpoint, "is not an http:// or https:// URL", f"write https://{endpoint}"
        )
    if parts.username is not None or parts.password is not None:
        raise StorageAccessError(name, None, "carries credentials", "remove them from the URL")
    if parts.scheme == "http" and not _is_private(parts.hostname):
        raise StorageAccessError(
            name, endpoint, "sends data unencrypted to a public host", "use https://"
        )


def _is_private(host: str) -> bool:
    """Whether plain HTTP stays inside a machine, a cluster or a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        inside = (".svc", ".cluster.local", ".local", ".internal", ".localhost", ".test")
        return "." not in host or host.endswith(inside)


def _build(*, anonymous: bool, brisk: bool) -> S3Client:
    import boto3
    from botocore.exceptions import BotoCoreError

    from darkroom.storage.s3_errors import translate

    endpoint = custom_endpoint()
    try:
        session = boto3.session.Session()
        region = os.environ.get("AWS_REGION") or session.region_name or DEFAULT_REGION
        client: S3Client = session.client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            config=_boto_config(anonymous=anonymous, brisk=brisk, by_path=endpoint is not None),
        )
    except (BotoCoreError, ValueError) as error:
        raise translate(error, uri="s3", verb="connect", answered=False) from None
    # Waiting for "100 Continue" would cost each upload a round trip.
    from botocore.handlers import add_expect_header

    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


def _boto_config(*, anonymous: bool, brisk: bool, by_path: bool) -> BotoConfig:
    from botocore import UNSIGNED
    from botocore.config import Config as BotoConfig

    return BotoConfig(
        signature_version=UNSIGNED if anonymous else None,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=CONNECT_TIMEOUT_SECONDS if brisk else READ_TIMEOUT_SECONDS,
        retries={
            "mode": "standard",
            "total_max_attempts": BRISK_ATTEMPTS if brisk else PATIENT_ATTEMPTS,
        },
        max_pool_connections=2 * NUM_THREADS,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if by_path else "auto"},
        # Checksums are ours to choose: sha256 of each upload, verified against the manifest.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=False,
    )
