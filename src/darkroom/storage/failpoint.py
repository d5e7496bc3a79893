"""Places where a test may kill the process, so that every commit step can be swept.

`failpoint(name)` does nothing unless the environment variable `DARKROOM_FAILPOINT` names it
(`name`, or `name:3` for its third passing); then the process dies at once by SIGKILL, as a
lost node would: no cleanup, no `finally`. `FAILPOINTS` lists every name there is.
"""

from __future__ import annotations

import os
import signal

ENVIRONMENT_VARIABLE = "DARKROOM_FAILPOINT"

FAILPOINTS = (
    "publish.after-probe",
    "publish.before-part",
    "publish.after-part",
    "publish.before-manifest",
    "publish.after-manifest",
    "pointer.before-claim",
    "pointer.after-claim",
    "pointer.before-advance",
    "pointer.after-advance",
    "pointer.before-retire",
    "pointer.after-retire",
)
"""Reached on every store."""

LOCAL_FAILPOINTS = ("local.before-sync", "local.before-rename", "local.after-rename")
"""Reached inside one write to a local path."""

GET_FAILPOINTS = (BEFORE_MOVE, AFTER_MOVE) = ("get.before-move", "get.after-move")
"""Reached for each file that `get` puts into a folder that is there."""

S3_FAILPOINTS = ("s3.before-complete",)
"""Reached inside one multipart upload."""

_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die here when the environment says so."""
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    if not wanted:
        return
    target, _, count = wanted.partition(":")
    if target != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
