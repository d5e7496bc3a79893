{{/*
What a pod of Ray does before it ends, as Python. `ray stop`, which KubeRay would put here, ends what runs: so
`ray start --block` itself is told, which has the node drained (Ray Train then saves, Ray Serve finishes its
requests) for at most RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S. Where a shell is the pod's first process, it passes
no signal on, and this does. Where `ray start` is (Bash gives its place to the last command), the kubelet tells it
once this has returned; a hook that waited would end with the container, and be reported as failed.
With the argument `while-there-is-a-head` it ends at once where no head answers: a whole cluster is going.
*/}}
{{- define "darkroom.drain" -}}
import os
import signal
import socket
import sys
import time
from itertools import pairwise
from pathlib import Path

NO_HEAD_SECONDS = 3


def running():
    """Process ids of `ray start`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(one.endswith(b"/ray") and two == b"start" for one, two in pairwise(words)):
            yield int(folder.name)


def head_answers():
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except ValueError:
        return True  # nothing says where it is
    except OSError:
        return False
    return True


needs_head = "while-there-is-a-head" in sys.argv
draining = set(running())
if 1 in draining:
    if not needs_head or os.fork():
        sys.exit()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
else:
    for process in draining:
        os.kill(process, signal.SIGTERM)
answered = time.monotonic()
while draining & set(running()):
    if not needs_head or head_answers():
        answered = time.monotonic()
    if time.monotonic() - answered > NO_HEAD_SECONDS:
        os.execvp("ray", ["ray", "stop", "--grace-period", "5"])
    time.sleep(0.2)
{{ end -}}
