"""Credentials that are asked for again: when the server refuses them, and while their source fails.

botocore renews what has an expiry, from ten minutes before it, and gives up when the source fails
once; it never looks again at a file or a process without an expiry. Here a source that fails is
asked again later, for the server alone knows when the old ones end; and what the server refuses is
looked for anew in the whole chain.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials

REFUSALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"),
        *("InvalidAccessKeyId", "403"),  # an answer to HEAD has no code but its status
    }
)
ASK_AGAIN_SECONDS = 5.0
"""After a source has failed."""


class SigningCredentials:
    """The credentials of one request, which stay what they are while others are renewed."""

    def __init__(self, frozen: ReadOnlyCredentials) -> None:
        self._frozen = frozen

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """As botocore asks for them."""
        return self._frozen


class RenewedCredentials:
    """`load` looks through the chain anew; None when there are none."""

    def __init__(self, source: Credentials, load: Callable[[], Credentials | None]) -> None:
        self._source = source
        self._load = load
        self._lock = threading.Lock()
        self._frozen: ReadOnlyCredentials | None = None
        self._failed_at = -ASK_AGAIN_SECONDS

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The newest ones. Errors: the source's, as long as it has given none."""
        if self._frozen is not None and time.monotonic() - self._failed_at < ASK_AGAIN_SECONDS:
            return self._frozen
        try:
            self._frozen = self._source.get_frozen_credentials()
        except Exception:
            if self._frozen is None:
                raise
            self._failed_at = time.monotonic()
        return self._frozen

    def renew(self, refused: ReadOnlyCredentials) -> bool:
        """Look for others than those that were refused. Errors: the source's."""
        with self._lock:
            if self._frozen != refused:
                return True  # another thread has done it
            source = self._load()
            found = None if source is None else source.get_frozen_credentials()
            if source is None or found is None or found == refused:
                return False
            self._source, self._frozen = source, found
            return True

    def retry_with_others(
        self, response: Any, request_dict: dict[str, Any], **_: Any
    ) -> int | None:
        """botocore's question whether to send a refused request again: seconds to wait, or None."""
        code = (response[1] if response else {}).get("Error", {}).get("Code")
        is_first = not request_dict["context"].get("darkroom_renewed")
        if code not in REFUSALS or not is_first:
            return None
        request_dict["context"]["darkroom_renewed"] = True
        # What this request was signed with: another thread may have renewed them since.
        signed_with = request_dict["context"]["signing"]["request_credentials"]
        return 0 if self.renew(signed_with.get_frozen_credentials()) else None
