"""Asks a service for pictures, in a pod that has nothing but Python; run as `python -c`.

    ADDRESS KEY BODY    one request; prints what became of it, as JSON
    ADDRESS KEY         short, long and streaming ones until /tmp/stop is there; prints a list

ADDRESS is host:port. No request is tried again. Each has a connection of its own, but those of the
kind `kept`, which use theirs for as long as the other side lets them.
"""

import http.client
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

address, key, *one = sys.argv[1:]
STOP = Path("/tmp/stop")  # noqa: S108 - the pod's own
SECONDS = 400
BODIES: dict[str, dict[str, Any]] = {
    "short": {"steps": 5},
    "long": {"steps": 100, "n": 3, "exact": True, "sampler": "ddpm"},
    "stream": {"steps": 20, "stream": True, "partial_images": 2},
    "kept": {"steps": 5},
}
rows: list[dict[str, Any]] = []


def ask(kind: str, body: dict[str, Any], connection: http.client.HTTPConnection) -> dict[str, Any]:
    began, clock = time.monotonic(), time.time()
    row: dict[str, Any] = {"kind": kind, "ok": False, "status": None, "digest": None, "said": ""}
    row["reused"] = connection.sock is not None
    try:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", "/v1/images/generations", json.dumps(body), headers)
        response = connection.getresponse()
        data = response.read().decode()
        done = "image_generation.completed" if body.get("stream") else '"b64_json"'
        digest = re.search(r'"model_digest": ?"(\w+)"', data)
        row["status"] = response.status
        row["ok"] = response.status == http.HTTPStatus.OK and done in data
        row["digest"] = digest and digest[1]
        drawing = re.search(r'"drawing_seconds": ?([\d.]+)', data)
        row["drawing_seconds"] = drawing and float(drawing[1])
        row["said"] = "" if row["ok"] else data[:300]
    except (OSError, http.client.HTTPException) as error:
        row["said"] = repr(error)
        connection.close()
    seconds = time.monotonic() - began
    return {**row, "seconds": round(seconds, 2), "ended": clock + seconds}


def keep_asking(kind: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=SECONDS)
    while not STOP.exists():
        rows.append(ask(kind, {"prompt": "7", **BODIES[kind]}, connection))
        if kind != "kept":
            connection.close()
        time.sleep(1)


if one:
    alone = http.client.HTTPConnection(address, timeout=SECONDS)
    print(json.dumps(ask("one", json.loads(one[0]), alone)))  # noqa: T201
else:
    threads = [threading.Thread(target=keep_asking, args=(kind,)) for kind in BODIES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(rows))  # noqa: T201
