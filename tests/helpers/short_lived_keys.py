"""A real S3 server whose keys come from a `credential_process` and end when a test says so.

SeaweedFS's own keys have no expiry: the proxy before it refuses the ones that have ended, as STS's
would be. Each test says what the process hands out, and whom the server refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.helpers.fault_proxy import Fault, FaultKind, FaultProxy

from darkroom.storage import EmbeddedServer
from darkroom.storage.aws_variables import CREDENTIAL_VARIABLES
from darkroom.storage.server import ADMIN_ACTIONS

BUCKET = "short-lived"
FIRST, SECOND = "darkroom", "second"
_SOON = "IN TWO MINUTES"
_PROCESS = f"""
sed "s/{_SOON}/$(date -u -d '+2 minutes' +%Y-%m-%dT%H:%M:%SZ)/" "$1"
"""


@dataclass
class ShortLivedKeys:
    """The server, and what is handed out and refused."""

    server: EmbeddedServer
    proxy: FaultProxy
    answer: Path
    """What the process prints; without it the process fails."""
    _refused: ExitStack = field(default_factory=ExitStack)

    def hand_out(self, identity: str, *, with_expiry: bool = False) -> None:
        """From now on the process gives this identity's keys; with an expiry two minutes away."""
        environment = self.server.environment_for(identity)
        keys = {
            "Version": 1,
            "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
            **({"Expiration": _SOON} if with_expiry else {}),
        }
        whole = self.answer.with_suffix(".new")
        whole.write_text(json.dumps(keys))
        whole.replace(self.answer)

    def refuse(self, kind: FaultKind, identity: str = "") -> None:
        """From now on the server refuses this identity, or everyone."""
        key = self.server.environment_for(identity)["AWS_ACCESS_KEY_ID"] if identity else ""
        fault = Fault(kind, count=None, signed_with=key)
        self._refused.enter_context(self.proxy.inject(fault))

    def mend(self) -> None:
        """The server refuses nobody."""
        self._refused.close()


@contextmanager
def short_lived_keys(folder: Path) -> Iterator[ShortLivedKeys]:
    """The server, which the environment names; the first identity's keys are handed out."""
    answer, settings, process = folder / "keys.json", folder / "config", folder / "process.sh"
    process.write_text(_PROCESS)
    settings.write_text(
        f"[default]\nregion = us-east-1\ncredential_process = sh {process} {answer}\n"
    )
    identities = {SECOND: ADMIN_ACTIONS}
    with (
        EmbeddedServer(folder / "s3", bucket=BUCKET, identities=identities) as server,
        FaultProxy(server.endpoint) as proxy,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name in CREDENTIAL_VARIABLES:
            environment.delenv(name, raising=False)
        environment.setenv("AWS_CONFIG_FILE", str(settings))
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
        environment.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        keys = ShortLivedKeys(server, proxy, answer)
        keys.hand_out(FIRST)
        yield keys
