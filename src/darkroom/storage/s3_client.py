"""The boto3 client behind every S3 request: credentials, endpoint, retries, limits.

Credentials come from the AWS default chain and are never shown or stored here.
`AWS_ENDPOINT_URL_S3` (or `AWS_ENDPOINT_URL`) names another server, which is then addressed by
path. Clients are cached per process and environment, because building one costs 0.2 s.
"""

from __future__ import annotations

import os
import random
import threading
import time
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config as BotoConfig
from botocore.handlers import add_expect_header
from botocore.httpsession import get_cert_path
from botocore.utils import parse_timestamp

from darkroom.loopback import is_loopback
from darkroom.storage.answered import was_told
from darkroom.storage.aws_settings import (
    VettedCredentials,
    check_environment,
    check_region,
    connecting,
)
from darkroom.storage.aws_variables import in_force
from darkroom.storage.endpoint import check_endpoint, custom_endpoint, is_proxied
from darkroom.storage.renewal import RenewedCredentials, SigningCredentials
from darkroom.storage.s3_direct import DirectClient
from darkroom.storage.store import NUM_THREADS

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn")
DEFAULT_REGION = "us-east-1"
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
FIRST_READ_TIMEOUT_SECONDS = 20
FAIL_FAST_TRIES = 2
FIRST_TRIES = 4
PATIENT_TRIES = 10
"""With botocore's waits between them, drawn at random, about 1 s, 5 s and 60 s to give up."""
OUTAGE_SECONDS = 150
"""How long a server that has answered before may refuse connections."""
OUTAGE_PAUSE_SECONDS = (2.0, 5.0)

DAMAGED_ON_THE_WAY = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"})
"""The server's checksums do not fit what it received, and it has kept nothing."""

_connections: dict[tuple[Any, ...], Connection] = {}
_lock = threading.Lock()


class Connection:
    """One identity's way to one server.

    Until the server has answered once, here or where this process was sent its work from, few
    tries are made: the endpoint is probably wrong, and someone is waiting. From then on an outage
    is the server's, and worth sitting out.
    """

    def __init__(self, *, anonymous: bool, fail_fast: bool) -> None:
        self._answered = False
        self._fail_fast = fail_fast
        self._factory = _ClientFactory(anonymous=anonymous)
        self._first = self._factory.client(FAIL_FAST_TRIES if fail_fast else FIRST_TRIES)
        self.direct = None if fail_fast else self._factory.direct(self._first)
        """The direct client for plain requests, where it will do."""

    @property
    def answered(self) -> bool:
        """Whether the server is known to be one."""
        return self._answered or was_told()

    def note_answer(self) -> None:
        """After each."""
        self._answered = True

    @property
    def client(self) -> S3Client:
        """boto3's client for the next request."""
        return self._patient if self.answered and not self._fail_fast else self._first

    @property
    def reachable(self) -> bool:
        """Whether an outage from here on is the server's fault, not the user's mistake."""
        return self.answered and not self._fail_fast

    @cached_property
    def _patient(self) -> S3Client:
        return self._factory.client(PATIENT_TRIES)


def connect(*, anonymous: bool = False, fail_fast: bool = False) -> Connection:
    """The connection for the environment as it is now. Errors: StorageAccessError."""
    # A forked child must not share its parent's sockets.
    identity = (os.getpid(), in_force(), anonymous, fail_fast)
    with _lock:
        if identity not in _connections:
            _connections[identity] = Connection(anonymous=anonymous, fail_fast=fail_fast)
        return _connections[identity]


def has_answered() -> bool:
    """Whether a server is known to be one, under this process's settings."""
    identity = (os.getpid(), in_force())
    with _lock:
        known = [each for key, each in _connections.items() if key[:2] == identity]
    return was_told() or any(connection.answered for connection in known)


def _time(value: Any) -> datetime:
    """A time in an answer: ISO 8601 in bodies, other forms in headers."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed


class _ClientFactory:
    """Builds clients that differ in their patience only. Errors: StorageAccessError."""

    def __init__(self, *, anonymous: bool) -> None:
        check_environment()
        self._anonymous = anonymous
        self._endpoint = custom_endpoint()
        self._chain = botocore.session.Session()
        # dateutil, which it would take, needs longer for a listing's times than all else of it.
        parsers: Any = self._chain.get_component("response_parser_factory")
        parsers.set_parser_defaults(timestamp_parser=_time)
        with connecting():
            self._session = boto3.session.Session(botocore_session=self._chain)
            region = os.environ.get("AWS_REGION") or self._session.region_name
            found: Any = None if anonymous else self._session.get_credentials()
        self._region = region or DEFAULT_REGION
        check_region(self._region)
        self._renewed = None if found is None else RenewedCredentials(found, _look_again)
        self._credentials = None if self._renewed is None else VettedCredentials(self._renewed)

    def client(self, tries: int) -> S3Client:
        options: Any = {"region_name": self._region, "endpoint_url": self._endpoint}
        with connecting():
            client: S3Client = self._session.client("s3", config=self._config(tries), **options)
            if self._endpoint is None:  # Amazon's, or what a profile names
                check_endpoint("endpoint_url", client.meta.endpoint_url)
            is_proxied(client.meta.endpoint_url)  # refuses a proxy that is none
        # Waiting for "100 Continue" would cost each upload a round trip.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        client.meta.events.register("before-call.s3", _refuse_redirect)
        client.meta.events.register("before-sign.s3", self._vet)
        damaged: Any = _send_damaged_again  # its types know no handlers that answer
        client.meta.events.register("needs-retry.s3", damaged)
        if self._renewed is not None:
            refused: Any = self._renewed.retry_with_others
            client.meta.events.register("needs-retry.s3", refused)
        if tries == PATIENT_TRIES:
            unreachable: Any = _sit_out_an_outage
            client.meta.events.register("needs-retry.s3", unreachable)
        return client

    def direct(self, client: S3Client) -> DirectClient | None:
        """None where boto3 would do more than sign and send: a proxy, or no credentials."""
        endpoint = client.meta.endpoint_url
        if is_proxied(endpoint) or (self._credentials is None and not self._anonymous):
            return None
        authorities = self._chain.get_config_variable("ca_bundle") or get_cert_path(verify=True)
        return DirectClient(
            endpoint,
            region=client.meta.region_name,
            credentials=self._credentials,
            authorities=str(authorities),
            by_path=not urlsplit(endpoint).netloc.endswith(AWS_DOMAINS),
            connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
        )

    def _vet(self, request: Any, **_: Any) -> None:
        """Before botocore signs: with our own credentials."""
        if self._credentials is not None:
            signing = request.context.get("signing", {})
            mine = SigningCredentials(self._credentials.get_frozen_credentials())
            request.context["signing"] = {**signing, "request_credentials": mine}

    def _config(self, tries: int) -> BotoConfig:
        patient = tries == PATIENT_TRIES
        is_here = self._endpoint is not None and is_loopback(urlsplit(self._endpoint).hostname)
        return BotoConfig(
            proxies={} if is_here else None,
            signature_version=UNSIGNED if self._anonymous else None,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS if patient else FIRST_READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=2 * NUM_THREADS,
            tcp_keepalive=True,
            s3={"addressing_style": "path" if self._endpoint else "auto"},
            # Checksums are ours to choose: sha256 of each upload, verified by the manifest.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            parameter_validation=False,
        )


def _look_again() -> Any:
    """The credentials that the chain gives now."""
    return botocore.session.Session().get_credentials()


def _refuse_redirect(context: dict[str, Any], **_: Any) -> None:
    """Tell botocore that it has followed a redirect already.

    Following one to the bucket's region would send each request twice; the user is told the
    region instead, once.
    """
    context.get("s3_redirect", {})["redirected"] = True


def _send_damaged_again(response: Any, attempts: int, **_: Any) -> int | None:
    """Seconds to wait before a retry; botocore itself gives up when bytes came damaged."""
    parsed = response[1] if response else {}
    damaged = parsed.get("Error", {}).get("Code") in DAMAGED_ON_THE_WAY
    return 0 if damaged and attempts < FIRST_TRIES else None


def _sit_out_an_outage(
    caught_exception: Any, request_dict: dict[str, Any], **_: Any
) -> float | None:
    """Seconds to wait before a retry where botocore would give up.

    Its own waits are drawn at random, and all threads share one quota of retries, so it may give
    up within seconds.
    """
    now = time.monotonic()
    since = request_dict["context"].setdefault("darkroom_first_attempt", now)
    unreachable = (
        boto.EndpointConnectionError,
        boto.ConnectTimeoutError,
        boto.ConnectionClosedError,
    )
    if not isinstance(caught_exception, unreachable) or now - since > OUTAGE_SECONDS:
        return None
    return random.uniform(*OUTAGE_PAUSE_SECONDS)
