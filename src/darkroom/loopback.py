"""This machine talks to itself without a proxy, whatever the environment says.

A proxy that the environment names is for the outside: it cannot reach the embedded S3 server, a
local Ray or an API server on 127.0.0.1. Go programs and curl know; Python's libraries do not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping

_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str | None) -> bool:
    """Whether `host` is this machine, by name or by address."""
    name = (host or "").strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def keep_off_proxies(environment: MutableMapping[str, str], *hosts: str) -> None:
    """Name this machine (and `hosts`) in NO_PROXY, for whatever the process starts or imports."""
    before = {name: environment[name] for name in ("no_proxy", "NO_PROXY") if name in environment}
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        # Where both are set, programs read the small one: it must not hide what the other says.
        listed = before.get(name, before.get(other, "")).replace(",", " ").split()
        if "*" not in listed:  # which counts only where it stands alone
            listed += [host for host in (*_HOSTS, *hosts) if host not in listed]
        environment[name] = ",".join(listed)
