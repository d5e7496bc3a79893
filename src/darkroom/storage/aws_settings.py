"""Whether the AWS settings in force can be used at all: said by name, and never by value.

Variables and what the credential chain gives (a file, a process, a role) are held to one rule:
printable ASCII without spaces. HTTP would carry nothing else, and botocore's own errors quote the
header that a value broke, signature and all. Everything found is told to `darkroom.messages`.
Errors of botocore and of what it runs or reads while it connects become StorageAccessError here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from botocore import exceptions as boto

from darkroom.errors import DarkroomError, StorageAccessError
from darkroom.messages import hide, one_line
from darkroom.storage.aws_variables import (
    CREDENTIAL_VARIABLES,
    ENDPOINT_VARIABLES,
    FILE_VARIABLES,
    REGION_VARIABLES,
    VARIABLES,
)
from darkroom.storage.names import CONTROL

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from darkroom.storage.renewal import RenewedCredentials

# botocore takes one that is not there for an empty one.
_MAY_BE_MISSING = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")


class VettedCredentials:
    """Credentials that were looked at, and told to the filter of messages, before their use."""

    def __init__(self, source: RenewedCredentials) -> None:
        self._source = source
        self._vetted: ReadOnlyCredentials | None = None

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Errors: StorageAccessError when there are none, or none that can be sent."""
        with connecting():
            found = self._source.get_frozen_credentials()
        if found != self._vetted:
            hide(found.access_key, found.secret_key, found.token)
            for name in ("access_key", "secret_key", "token"):
                if flaw := _flaw(getattr(found, name) or ""):
                    raise StorageAccessError(
                        "credentials",
                        None,
                        f"the {name} that the profile or role gives {flaw}",
                        "write it again without it",
                    )
            self._vetted = found
        return found


def check_environment() -> None:
    """Errors: StorageAccessError naming the first variable that cannot be right."""
    for name in (*CREDENTIAL_VARIABLES, *REGION_VARIABLES, *ENDPOINT_VARIABLES):
        if flaw := _flaw(os.environ.get(name, "")):
            raise StorageAccessError(name, None, flaw, "set it again without it")
    for name in FILE_VARIABLES:
        if path := os.environ.get(name):
            _check_file(name, path)


def use_no_settings() -> None:
    """Forget what the environment and the user's files say: a server of our own says it all.

    Some of it would send us and our children elsewhere, or stop them.
    """
    for name in VARIABLES:
        os.environ.pop(name, None)
    for name in _MAY_BE_MISSING:
        os.environ[name] = os.devnull


def check_region(region: str) -> None:
    """Errors: StorageAccessError when a profile's region cannot be one."""
    if flaw := _flaw(region):
        raise StorageAccessError("region", None, flaw, "correct it in the profile")


def _flaw(text: str) -> str | None:
    """What is wrong with a setting, without a character of it."""
    if "\n" in text or "\r" in text:
        return "contains a line break"
    if CONTROL.search(text):
        return "contains a control character"
    if any(character.isspace() for character in text):
        return "contains a space"
    return None if text.isascii() else "contains a character that is not ASCII"


def _check_file(name: str, path: str) -> None:
    if CONTROL.search(path):
        raise StorageAccessError(name, None, "contains a control character", "set it without it")
    place = Path(os.path.expandvars(path)).expanduser()
    remedy = "name a file that can be read, or unset it"
    if place.is_dir():
        if name != "AWS_CA_BUNDLE":  # OpenSSL takes a folder of certificates too
            raise StorageAccessError(name, path, "is a folder", remedy)
    elif not place.exists():
        if name not in _MAY_BE_MISSING:
            raise StorageAccessError(name, path, "does not exist", remedy)
    elif not os.access(place, os.R_OK):
        raise StorageAccessError(name, path, "may not be read", remedy)


@contextmanager
def connecting() -> Iterator[None]:
    """Errors: StorageAccessError for whatever goes wrong before the first request."""
    try:
        yield
    except DarkroomError:
        raise
    except Exception as error:  # noqa: BLE001 - of files, programs, JSON that botocore meets
        raise unusable(error) from None


def unusable(error: Exception) -> StorageAccessError:
    """Our error for one that came while credentials or settings were looked for."""
    text = one_line(error).rstrip(".")
    if isinstance(error, boto.ProfileNotFound):
        profile = error.kwargs.get("profile")
        remedy = "correct AWS_PROFILE, or unset it"
        return StorageAccessError("AWS_PROFILE", profile, "there is no such profile", remedy)
    if isinstance(error, boto.ConfigParseError):
        path = error.kwargs.get("path")
        named = (name for name in _MAY_BE_MISSING if path and os.environ.get(name) == path)
        return StorageAccessError(
            next(named, "AWS settings"),
            path,
            "cannot be read as a file of AWS settings",
            "correct the file, or name another with AWS_CONFIG_FILE and"
            " AWS_SHARED_CREDENTIALS_FILE",
        )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StorageAccessError(
            "credentials",
            None,
            f"none were found ({text})",
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a"
            " role; for a public bucket write s3://anonymous@bucket",
        )
    if (expiry := os.environ.get("AWS_CREDENTIAL_EXPIRATION")) and expiry in text:
        remedy = "write it as 2026-01-31T12:00:00Z, or unset it"
        return StorageAccessError("AWS_CREDENTIAL_EXPIRATION", expiry, "is no time", remedy)
    if isinstance(error, boto.InvalidRegionError):
        return StorageAccessError("region", None, text, "set AWS_REGION to a region's name")
    if isinstance(error, boto.BotoCoreError) and not isinstance(error, _CREDENTIAL_ERRORS):
        remedy = "correct the AWS variable or the profile's setting that it is about"
        return StorageAccessError("AWS settings", None, text, remedy)
    if not isinstance(error, boto.BotoCoreError):
        text = f"{type(error).__name__}: {text}"
    return StorageAccessError(
        "credentials",
        None,
        f"the chain could not provide any ({text})",
        "log in again, or correct the profile, its credential_process or the role",
    )


_CREDENTIAL_ERRORS = (
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.UnauthorizedSSOTokenError,
    boto.SSOTokenLoadError,
    boto.RefreshWithMFAUnsupportedError,
    boto.MetadataRetrievalError,
    boto.InvalidConfigError,
)
IDENTITY_ERRORS = (
    *_CREDENTIAL_ERRORS,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
)
"""What botocore raises from a request for want of credentials."""
