"""Every botocore error as one of ours, with what to do about it.

The seam: nothing above it sees a botocore type. What the user can fix (bucket, permission,
region, credentials, clock, endpoint) becomes StorageAccessError, which exits 2; a server that
answered before and fails now is StorageError, which exits 1 and may be run again.
What goes wrong before a request is `s3_identity.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as boto

from darkroom.errors import (
    DarkroomError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
    StorageError,
)
from darkroom.messages import one_line
from darkroom.storage.s3_identity import IDENTITY_ERRORS, unusable


class ConflictError(PreconditionFailedError):
    """409: two conditional writes met. Neither answer is final; the request is sent again."""


class EmptyRangeError(StorageError):
    """The object has no byte in the range asked for."""


class ConditionalWritesError(StorageAccessError):
    """The server does not understand If-None-Match or If-Match on a write."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            "server",
            uri,
            "does not honour conditional writes (If-None-Match, If-Match), so two jobs could"
            " both publish",
            "use a store that does: AWS S3, SeaweedFS, MinIO, Ceph 19 or newer",
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.value,)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An error answer of the server to `verb` on `uri`."""

    uri: str
    verb: str
    error: boto.ClientError

    @property
    def code(self) -> str:
        return str(self.error.response.get("Error", {}).get("Code", "unknown"))


def _bucket_missing(answer: _Answer) -> DarkroomError:
    return StorageAccessError(
        "bucket", answer.uri, "the bucket does not exist", "create it, or correct its name"
    )


def _key_missing(answer: _Answer) -> DarkroomError:
    return ObjectNotFoundError(f"{answer.uri} does not exist")


def _denied(answer: _Answer) -> DarkroomError:
    return StorageAccessError(
        "permission",
        answer.uri,
        f"this identity may not {answer.verb} here",
        f"allow {_ACTIONS.get(answer.verb, 's3:*')} in its policy, or use another identity",
    )


def _bad_credentials(answer: _Answer) -> DarkroomError:
    return StorageAccessError(
        "credentials",
        None,
        f"the server does not accept them ({answer.code})",
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the role, and that"
        " they belong to this endpoint",
    )


def _expired(answer: _Answer) -> DarkroomError:
    return StorageAccessError(
        "credentials",
        None,
        f"they have expired ({answer.code})",
        "log in again, or renew the session token",
    )


def _skewed(_: _Answer) -> DarkroomError:
    return StorageAccessError(
        "clock",
        None,
        "this machine's clock differs from the server's by more than the 15 minutes that"
        " signatures allow (RequestTimeTooSkewed)",
        "set the clock (NTP)",
    )


def _wrong_region(answer: _Answer) -> DarkroomError:
    region = bucket_region(answer.error)
    remedy = f"set AWS_REGION={region}" if region else "set AWS_REGION to the bucket's region"
    return StorageAccessError("region", answer.uri, "the bucket is in another region", remedy)


def _precondition(answer: _Answer) -> DarkroomError:
    if answer.verb == "read":
        return PreconditionFailedError(f"{answer.uri} was changed while it was read")
    return PreconditionFailedError(f"{answer.uri} was written by another writer")


def _conflict(answer: _Answer) -> DarkroomError:
    return ConflictError(f"{answer.uri} is being written by another writer at this moment")


def _unsupported(answer: _Answer) -> DarkroomError:
    return ConditionalWritesError(answer.uri)


def _empty_range(answer: _Answer) -> DarkroomError:
    return EmptyRangeError(f"{answer.uri} has no byte in the range asked for")


_Translator = Callable[[_Answer], DarkroomError]

_BY_CODE: dict[str, _Translator] = {
    "NoSuchBucket": _bucket_missing,
    "NoSuchKey": _key_missing,
    "NoSuchUpload": _key_missing,
    "404": _key_missing,
    "NotFound": _key_missing,
    "AccessDenied": _denied,
    "AllAccessDisabled": _denied,
    "AccountProblem": _denied,
    "403": _denied,
    "Forbidden": _denied,
    "InvalidAccessKeyId": _bad_credentials,
    "SignatureDoesNotMatch": _bad_credentials,
    "InvalidToken": _bad_credentials,
    "ExpiredToken": _expired,
    "ExpiredTokenException": _expired,
    "TokenRefreshRequired": _expired,
    "RequestExpired": _expired,
    "RequestTimeTooSkewed": _skewed,
    "PermanentRedirect": _wrong_region,
    "TemporaryRedirect": _wrong_region,
    "301": _wrong_region,
    "307": _wrong_region,
    "AuthorizationHeaderMalformed": _wrong_region,
    "IllegalLocationConstraintException": _wrong_region,
    "InvalidRegion": _wrong_region,
    "PreconditionFailed": _precondition,
    "412": _precondition,
    "ConditionalRequestConflict": _conflict,
    "409": _conflict,
    "InvalidRange": _empty_range,
    "416": _empty_range,
    "NotImplemented": _unsupported,
    "501": _unsupported,
}

_ACTIONS = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "abort uploads": "s3:AbortMultipartUpload and s3:ListBucketMultipartUploads",
}

_UNREACHABLE = (
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
    boto.SSLError,
)


def translate(error: Exception, *, uri: str, verb: str, reachable: bool) -> DarkroomError:
    """Our error for botocore's. `reachable`: this server has answered this process before."""
    if isinstance(error, boto.ClientError):
        return _from_answer(_Answer(uri, verb, error))
    if isinstance(error, IDENTITY_ERRORS) or not isinstance(error, boto.BotoCoreError):
        return unusable(error)
    if isinstance(error, _UNREACHABLE) and not reachable:
        return _unreachable(error)
    return StorageError(
        f"{uri}: could not {verb}: {one_line(error).rstrip('.')}; run the same command again"
    )


def translate_fault(fault: Mapping[str, Any], *, uri: str, verb: str) -> DarkroomError:
    """Our error for one line of an answer that is a success otherwise, as DeleteObjects gives."""
    response: Any = {"Error": fault}
    return _from_answer(_Answer(uri, verb, boto.ClientError(response, verb)))


def _from_answer(answer: _Answer) -> DarkroomError:
    status = status_code(answer.error)
    known = _BY_CODE.get(answer.code) or _BY_CODE.get(str(status))
    if known is not None:
        return known(answer)
    message = answer.error.response.get("Error", {}).get("Message", "")
    return StorageError(
        f"{answer.uri}: could not {answer.verb}: the server answered {answer.code} ({status})"
        f" {message}".rstrip()
    )


def _unreachable(error: boto.BotoCoreError) -> StorageAccessError:
    if isinstance(error, boto.ProxyConnectionError):
        host = str(error.kwargs.get("proxy_url", "")).rpartition("@")[2]  # without its password
        return StorageAccessError(
            "proxy",
            host,
            "the environment's proxy for this server cannot be reached",
            "correct or unset HTTPS_PROXY and HTTP_PROXY, or name the server in NO_PROXY",
        )
    parts = urlsplit(str(error.kwargs.get("endpoint_url", "")))
    why = ": its certificate is not trusted" if isinstance(error, boto.SSLError) else ""
    return StorageAccessError(
        "endpoint",
        f"{parts.scheme}://{parts.netloc}",
        f"cannot be reached{why}",
        "check AWS_ENDPOINT_URL_S3, the network and that the server runs"
        + (", or name its authority in AWS_CA_BUNDLE" if why else ""),
    )


@contextmanager
def translated(uri: str, verb: str, *, reachable: bool) -> Iterator[None]:
    """Raise our errors in place of botocore's."""
    try:
        yield
    except DarkroomError:
        raise
    except (boto.ClientError, boto.BotoCoreError, OSError, ValueError) as error:
        raise translate(error, uri=uri, verb=verb, reachable=reachable) from None


def bucket_region(error: boto.ClientError) -> str | None:
    """The region that a redirecting answer names."""
    headers = _metadata(error).get("HTTPHeaders", {})
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    region = headers.get("x-amz-bucket-region") or answer.get("Region")
    return str(region) if region else None


def status_code(error: boto.ClientError) -> int:
    """The answer's HTTP status."""
    return int(_metadata(error).get("HTTPStatusCode", 0))


def _metadata(error: boto.ClientError) -> dict[str, Any]:
    return dict(error.response.get("ResponseMetadata", {}))
