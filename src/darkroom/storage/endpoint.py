"""Where requests go: the endpoint and the proxy before it, checked before anything is sent.

Neither is quoted where it may hold a secret, and what an HTTP library would say of it is not
waited for.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from darkroom.errors import StorageAccessError
from darkroom.loopback import is_loopback

_NAME = re.compile(r"[\w.-]+", re.ASCII)


def custom_endpoint() -> str | None:
    """The endpoint that the environment names. Errors: StorageAccessError when it is unfit."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        endpoint = os.environ.get(name)
        if endpoint:
            check_endpoint(name, endpoint)
            return endpoint
    return None


def check_endpoint(name: str, endpoint: str) -> None:
    """Errors: StorageAccessError naming the setting `name` when requests cannot go there."""
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        usable = parts.port != 0 and (_is_address(host) or _NAME.fullmatch(host) is not None)
    except ValueError:  # a port that is no number, half an IPv6 address
        raise StorageAccessError(
            name, endpoint, "is not a URL", "write https://host or https://host:port"
        ) from None
    if parts.username is not None or parts.password is not None:
        raise StorageAccessError(name, None, "carries credentials", "remove them from the URL")
    if parts.scheme not in ("http", "https") or not usable:
        rest = endpoint.rpartition("://")[2]
        remedy = f"write https://{rest if _NAME.match(rest) and '%' not in rest else 'host'}"
        raise StorageAccessError(name, endpoint, "is not an http:// or https:// URL", remedy)
    if parts.query or parts.fragment:
        raise StorageAccessError(name, None, "has a query or a fragment", "end it before ? or #")
    if parts.scheme == "http" and not _is_private(host):
        raise StorageAccessError(
            name, endpoint, "sends data unencrypted to a public host", "use https://"
        )


def is_proxied(endpoint: str) -> bool:
    """Whether requests take a proxy of the environment. Errors: StorageAccessError if it is none.

    It is never shown: the part before its "@" is a password, wherever that ends.
    """
    parts = urlsplit(endpoint)
    proxies = getproxies()
    if is_loopback(parts.hostname) or parts.scheme not in proxies or proxy_bypass(parts.netloc):
        return False
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        usable = parse_url(proxies[parts.scheme]).host
    except LocationParseError:
        usable = None
    if not usable:
        raise StorageAccessError(
            f"{parts.scheme.upper()}_PROXY",
            None,
            "is not a URL",
            "write http://host:port, what is special in a password percent-encoded (# as %23),"
            " or name the server in NO_PROXY",
        )
    return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_private(host: str) -> bool:
    """Whether plain HTTP stays inside a machine, a cluster or a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        inside = (".svc", ".cluster.local", ".local", ".internal", ".localhost", ".test")
        return "." not in host or host.endswith(inside)
