"""Credentials under renewal, as botocore's own questions meet them."""

from __future__ import annotations

from typing import Any

from botocore.credentials import Credentials, ReadOnlyCredentials

from darkroom.storage.renewal import RenewedCredentials, SigningCredentials

REFUSED = (None, {"Error": {"Code": "ExpiredToken"}})


def request_signed_with(credentials: ReadOnlyCredentials) -> dict[str, Any]:
    signing = {"request_credentials": SigningCredentials(credentials)}
    return {"context": {"signing": signing}}


def test_a_request_in_the_air_is_sent_again_when_another_has_renewed_the_keys() -> None:
    """Two requests went out with the old keys; the second is refused after the first renewed."""
    chain = Credentials("new", "secret")
    renewed = RenewedCredentials(Credentials("old", "secret"), lambda: chain)
    old = renewed.get_frozen_credentials()
    first, second = request_signed_with(old), request_signed_with(old)
    assert renewed.retry_with_others(REFUSED, first) == 0
    assert renewed.retry_with_others(REFUSED, second) == 0
    assert renewed.get_frozen_credentials().access_key == "new"
    third = request_signed_with(renewed.get_frozen_credentials())
    assert renewed.retry_with_others(REFUSED, third) is None  # the chain has no others
