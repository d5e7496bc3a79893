"""Clients of a drawing service, by one thread for each request under way, and what they saw.

They send Darkroom's requests over connections that are kept, and take any answer that holds one
PNG. They run in this process, beside the service and on the same cores: what they take of these is
told with every measurement.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import psutil
from benchmarks.interleaved import Ratio

PATH = "/v1/images/generations"
PNG = b"\x89PNG"
REQUEST_SECONDS = 300
READY_SECONDS = 300


@dataclass(frozen=True)
class Seen:
    """What came of some requests. Processor seconds of the service are those of all its processes
    that live at the end."""

    seconds: float
    latencies: list[float]
    processor_seconds: dict[str, float]


def latency_ratio(theirs: Sequence[Seen], ours: Sequence[Seen]) -> Ratio:
    """Of mean latencies, round by round; a round is two turns of each."""
    above, below = (
        [
            statistics.fmean((*first.latencies, *second.latencies))
            for first, second in zip(turns[::2], turns[1::2], strict=True)
        ]
        for turns in (theirs, ours)
    )
    return Ratio.of([a / b for a, b in zip(above, below, strict=True)])


class Clients:
    """Asks one service, at a path of its address."""

    def __init__(self, address: str, service: psutil.Process, path: str = PATH) -> None:
        self._address, self._path = urlsplit(address).netloc, path
        self._service = service
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def wait(self, body: dict[str, Any]) -> None:
        """Until it draws. Errors: RuntimeError when it ended instead, or takes too long."""
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._ask(body)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                ended = self._service.status() == psutil.STATUS_ZOMBIE
                if ended or time.monotonic() > until:
                    raise RuntimeError(f"the service did not come up ({error})") from error
                time.sleep(0.2)
            else:
                return

    def at_once(self, bodies: Sequence[dict[str, Any]], *, num_clients: int) -> Seen:
        """Each client asks again as soon as it is answered."""
        with self._counted() as used, ThreadPoolExecutor(num_clients) as threads:
            started = time.perf_counter()
            latencies = list(threads.map(self._ask, bodies))
            seconds = time.perf_counter() - started
        return Seen(seconds, latencies, used)

    def at_random(
        self, bodies: Sequence[dict[str, Any]], *, gap_seconds: float, chance: random.Random
    ) -> Seen:
        """They come one by one (Poisson), whoever waits. A latency counts from when one was due."""
        with self._counted() as used, ThreadPoolExecutor(len(bodies)) as threads:
            started = due = time.perf_counter()
            answers = []
            for body in bodies:
                due += chance.expovariate(1 / gap_seconds)
                time.sleep(max(0.0, due - time.perf_counter()))
                answers.append(threads.submit(self._since, due, body))
            latencies = [answer.result() for answer in answers]
            seconds = time.perf_counter() - started
        return Seen(seconds, latencies, used)

    def idle(self, seconds: float) -> Seen:
        """Nobody asks: what the service takes by itself."""
        with self._counted() as used:
            time.sleep(seconds)
        return Seen(seconds, [], used)

    def _since(self, due: float, body: dict[str, Any]) -> float:
        self._ask(body)
        return time.perf_counter() - due

    def _ask(self, body: dict[str, Any]) -> float:
        """Its seconds."""
        started = time.perf_counter()
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._address, timeout=REQUEST_SECONDS)
            self._local.connection = connection
            self._connections.append(connection)
        try:
            told = {"content-type": "application/json"}
            connection.request("POST", self._path, json.dumps(body), told)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        assert answer.status == http.HTTPStatus.OK, (answer.status, data[:300])
        (picture,) = json.loads(data)["data"]
        assert base64.b64decode(picture["b64_json"]).startswith(PNG)
        return time.perf_counter() - started

    @contextmanager
    def _counted(self) -> Iterator[dict[str, float]]:
        """Processor seconds of both sides, known at the end."""
        used: dict[str, float] = {}
        service, client = self._of_service(), time.process_time()
        yield used
        used["client"] = time.process_time() - client
        after = self._of_service()
        used["service"] = sum(after[pid] - service.get(pid, 0.0) for pid in after)

    def _of_service(self) -> dict[int, float]:
        found = {}
        for process in (self._service, *self._service.children(recursive=True)):
            try:
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return found
