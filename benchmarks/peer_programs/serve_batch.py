"""A service as Ray Serve's documentation has it: FastAPI as ingress, `@serve.batch`."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import ray
from benchmarks.peer_programs.drawing import PATH, Pipeline, Settings, answer_of
from ray import serve
from starlette.requests import Request

WAIT_SECONDS = 0.01
"""Ray's own default."""


def main() -> None:
    settings = Settings.of_command_line()
    model, num_threads = settings.model, settings.num_threads

    @serve.deployment(
        max_ongoing_requests=4 * settings.batch_size, ray_actor_options={"num_cpus": num_threads}
    )
    class Draw:
        def __init__(self) -> None:
            self._pipeline = Pipeline(model, num_threads)

        @serve.batch(max_batch_size=settings.batch_size, batch_wait_timeout_s=WAIT_SECONDS)
        async def _draw(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [answer_of(picture) for picture in self._pipeline.draw(requests)]

        async def __call__(self, request: Request) -> dict[str, Any]:
            values = await request.json()
            answer: dict[str, Any] = await self._draw(values)
            return answer

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ray.init(num_cpus=max(os.cpu_count() or 1, num_threads + 1), log_to_driver=False)
    serve.start(
        proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": settings.port}
    )
    application: Any = Draw
    serve.run(application.bind(), name="draw", route_prefix=PATH)
    stop.wait()
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


if __name__ == "__main__":
    main()
