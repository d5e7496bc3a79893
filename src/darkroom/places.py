"""Where something lies, as a text: an `s3://` URI, or a path, which is made absolute here.

The current folder and the home of the driver mean nothing on a worker, so a config's places are
made absolute while it is built (the field types of `config.py`), and any other path where it is
parsed (`storage/uri.py`): both by `absolute`. Opens nothing; a store's rules are `storage`'s.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_uri(text: str) -> bool:
    """Whether a scheme is meant. A folder may be called `run:1`, but not `s3:x`."""
    match = _SCHEME.match(text.lstrip())
    return match is not None and (bool(match[2]) or match[1].lower() in ("s3", "file"))


def absolute(text: str) -> str:
    """The one text of a place: a path from the root, `~` and `..` resolved; a URI as it is.

    Errors: ValueError with the problem and the remedy.
    """
    if text.startswith("file:///"):
        return _absolute_path(text.removeprefix("file://"))
    if is_uri(text):
        return text if text.endswith("//") else text.removesuffix("/")
    return _absolute_path(text)


def absolute_or_hub_id(text: str) -> str:
    """Of a model: `org/name` stays a hub's id unless a folder or file here has that name."""
    return text if _HUB_ID.fullmatch(text) and not Path(text).exists() else absolute(text)


def is_hub_id(text: str) -> bool:
    """Of a text that `absolute_or_hub_id` gave."""
    return _HUB_ID.fullmatch(text) is not None


def _absolute_path(text: str) -> str:
    # A shell leaves the ~ of --output=~/x and of a config file alone. One of a user that does
    # not exist is a name, as for the shell.
    path = os.path.expanduser(text)  # noqa: PTH111 - Path raises, and drops what is odd
    if path == "~" or path.startswith("~/"):
        raise ValueError("begins with ~, and this user has no home; write the whole path")
    if not path.startswith("/"):
        try:
            path = f"{os.getcwd()}/{path}"  # noqa: PTH109 - the text is wanted
        except FileNotFoundError:
            raise ValueError(
                "is relative, and the current folder is gone; write the whole path, or cd first"
            ) from None
    return "/" + os.path.normpath(_without_dots(path)).lstrip("/")


def _without_dots(path: str) -> str:
    """`link/..` is where the link leads, as for `ls`; other links keep their names."""
    above, dots, below = f"{path}/".rpartition("/../")
    if not dots:
        return path
    parent, real = os.path.normpath(f"{above}/.."), os.path.realpath(f"{above}/..")
    return f"{parent if os.path.realpath(parent) == real else real}/{below}"
