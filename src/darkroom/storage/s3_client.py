"""The boto3 client behind every S3 request: credentials, endpoint, retries, limits.

Credentials come from the AWS default chain and are never read, shown or stored here.
`AWS_ENDPOINT_URL_S3` (or `AWS_ENDPOINT_URL`) names another server, which is then addressed by
path. Clients are cached per process and environment, because building one costs 0.2 s.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from darkroom.errors import StorageAccessError
from darkroom.storage.store import NUM_THREADS

if TYPE_CHECKING:
    from botocore.config import Config as BotoConfig
    from mypy_boto3_s3.client import S3Client

    from darkroom.storage.s3_lane import Lane

AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn")
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
_connections: dict[tuple[Any, ...], Connection] = {}
_lock = threading.Lock()


@dataclass(slots=True)
class Connection:
    """One identity's way to one server."""

    client: S3Client
    lane: Lane | None
    """The short way for plain requests, where it goes (no proxy, no private CA)."""
    answered: bool = False
    """The server has answered: an outage from here on is no longer the user's mistake."""


def connect(*, anonymous: bool = False, brisk: bool = False) -> Connection:
    """The connection for the environment as it is now. Errors: StorageAccessError."""
    environment = tuple(os.environ.get(name) for name in _ENVIRONMENT)
    # A forked child must not share its parent's sockets.
    identity = (os.getpid(), environment, anonymous, brisk)
    with _lock:
        if identity not in _connections:
            _connections[identity] = _build(anonymous=anonymous, brisk=brisk)
        return _connections[identity]


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


def _build(*, anonymous: bool, brisk: bool) -> Connection:
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from botocore.handlers import add_expect_header

    from darkroom.storage.s3_errors import translate

    endpoint = custom_endpoint()
    try:
        chain = botocore.session.Session()
        session = boto3.session.Session(botocore_session=chain)
        region = os.environ.get("AWS_REGION") or session.region_name or DEFAULT_REGION
        options: Any = {"region_name": region, "endpoint_url": endpoint}
        config = _boto_config(anonymous=anonymous, brisk=brisk, by_path=endpoint is not None)
        client: S3Client = session.client("s3", config=config, **options)
    except (BotoCoreError, ValueError) as error:
        raise translate(error, uri="s3", verb="connect", answered=False) from None
    # Waiting for "100 Continue" would cost each upload a round trip.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    if brisk:
        return Connection(client, None)
    credentials = None if anonymous else session.get_credentials()
    authorities = chain.get_config_variable("ca_bundle")
    return Connection(client, _lane(client, credentials, authorities, anonymous=anonymous))


def _lane(
    client: S3Client, credentials: Any, authorities: str | None, *, anonymous: bool
) -> Lane | None:
    """None where boto3 would do more than sign and send: a proxy, or no credentials."""
    from botocore.httpsession import get_cert_path

    from darkroom.storage.s3_lane import Lane

    endpoint = client.meta.endpoint_url
    proxied = getproxies() and not proxy_bypass(urlsplit(endpoint).netloc)
    if proxied or (credentials is None and not anonymous):
        return None
    return Lane(
        endpoint,
        region=client.meta.region_name,
        credentials=credentials,
        authorities=authorities or str(get_cert_path(verify=True)),
        by_path=not urlsplit(endpoint).netloc.endswith(AWS_DOMAINS),
        connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds=READ_TIMEOUT_SECONDS,
    )


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
