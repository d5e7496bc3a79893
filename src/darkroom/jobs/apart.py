"""Input and output must not lie in each other: outputs would be listed as inputs."""

from __future__ import annotations

import os
from dataclasses import replace

from darkroom.errors import UriError
from darkroom.storage import Uri, parse_uri


def check_apart(output: str, source: str, *, field: str) -> None:
    """Refuse an output that is, holds or lies inside the input. Errors: UriError."""
    target = _real(parse_uri(output, field="output"))
    origin = _real(parse_uri(source, field=field))
    if target == origin:
        problem = "is the input itself"
    elif _contains(origin, target):
        problem = f"lies inside the input {source}"
    elif _contains(target, origin):
        problem = f"holds the input {source}"
    else:
        return
    raise UriError("output", output, problem, "publish beside the input")


def _real(uri: Uri) -> Uri:
    """Where links lead: an input that is one would hide what lies inside it."""
    if uri.scheme != "file":
        return uri
    return replace(uri, key=os.path.realpath(uri.path).lstrip("/"))


def _contains(outer: Uri, inner: Uri) -> bool:
    if (outer.scheme, outer.bucket) != (inner.scheme, inner.bucket):
        return False
    return inner.key == outer.key or not outer.key or inner.key.startswith(outer.key + "/")
