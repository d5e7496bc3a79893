"""Every botocore error as one of ours, with what to do about it.

The seam: nothing above it sees a botocore type. What the user can fix (bucket, permission,
region, credentials, clock, endpoint) becomes StorageAccessError, which exits 2; a server that
answered before and fails now is StorageError, which exits 1 and may be run again.
What goes wrong before a request is `aws_settings.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as boto

from darkroom.errors import (
    DarkroomError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
    StorageError,
    UnreachableError,
)
from darkroom.messages import one_line
from darkroom.storage.aws_settings import IDENTITY_ERRORS, unusable


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
        return _from_answer(error, uri, verb)
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
    return _from_answer(boto.ClientError(response, verb), uri, verb)


def _from_answer(error: boto.ClientError, uri: str, verb: str) -> DarkroomError:
    """Our error for an error answer of the server to `verb` on `uri`."""
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    code, status = str(answer.get("Code", "unknown")), _metadata(error).get("HTTPStatusCode", 0)
    known = _known(code, error, uri, verb) or _known(str(status), error, uri, verb)
    if known is not None:
        return known
    said = f"the server answered {code} ({status}) {answer.get('Message', '')}".rstrip()
    return StorageError(f"{uri}: could not {verb}: {said}")


def _known(code: str, error: boto.ClientError, uri: str, verb: str) -> DarkroomError | None:
    """Our error for a code, or for a status where an answer without a body gives no other."""
    match code:
        case "NoSuchBucket":
            return StorageAccessError(
                "bucket", uri, "the bucket does not exist", "create it, or correct its name"
            )
        case "NoSuchKey" | "NoSuchUpload" | "NotFound" | "404":
            return ObjectNotFoundError(f"{uri} does not exist")
        case "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" | "403":
            return StorageAccessError(
                "permission",
                uri,
                f"this identity may not {verb} here",
                f"allow {_ACTIONS.get(verb, 's3:*')} in its policy, or use another identity",
            )
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken":
            return StorageAccessError(
                "credentials",
                None,
                f"the server does not accept them ({code})",
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile or the role, and"
                " that they belong to this endpoint",
            )
        case "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired":
            return StorageAccessError(
                "credentials",
                None,
                f"they have expired ({code})",
                "log in again, or renew the session token",
            )
        case "RequestTimeTooSkewed":
            return StorageAccessError(
                "clock",
                None,
                "this machine's clock differs from the server's by more than the 15 minutes that"
                " signatures allow (RequestTimeTooSkewed)",
                "set the clock (NTP)",
            )
        case (
            "PermanentRedirect" | "TemporaryRedirect" | "301" | "307" | "InvalidRegion"
            | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
        ):  # fmt: skip
            region = _bucket_region(error)
            remedy = "set AWS_REGION" + (f"={region}" if region else " to the bucket's region")
            return StorageAccessError("region", uri, "the bucket is in another region", remedy)
        case "PreconditionFailed" | "412":
            how = "changed while it was read" if verb == "read" else "written by another writer"
            return PreconditionFailedError(f"{uri} was {how}")
        case "ConditionalRequestConflict" | "409":
            return ConflictError(f"{uri} is being written by another writer at this moment")
        case "InvalidRange" | "416":
            return EmptyRangeError(f"{uri} has no byte in the range asked for")
        case "NotImplemented" | "501":
            return ConditionalWritesError(uri)
    return None


def _unreachable(error: boto.BotoCoreError) -> UnreachableError:
    if isinstance(error, boto.ProxyConnectionError):
        host = str(error.kwargs.get("proxy_url", "")).rpartition("@")[2]  # without its password
        return UnreachableError(
            "proxy",
            host,
            "the environment's proxy for this server cannot be reached",
            "correct or unset HTTPS_PROXY and HTTP_PROXY, or name the server in NO_PROXY",
        )
    parts = urlsplit(str(error.kwargs.get("endpoint_url", "")))
    why = ": its certificate is not trusted" if isinstance(error, boto.SSLError) else ""
    return UnreachableError(
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


def _bucket_region(error: boto.ClientError) -> str | None:
    """The region that a redirecting answer names."""
    headers = _metadata(error).get("HTTPHeaders", {})
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    region = headers.get("x-amz-bucket-region") or answer.get("Region")
    return str(region) if region else None


def _metadata(error: boto.ClientError) -> dict[str, Any]:
    return dict(error.response.get("ResponseMetadata", {}))
