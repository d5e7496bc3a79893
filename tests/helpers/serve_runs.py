"""A service on Ray Serve with a tiny model, for tests that need both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
from tests.helpers.tiny_artifacts import publish_model

from darkroom.config import build_config
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.job import serving

KEY = "sk-" + "Zq8wX2" * 8
LONG = {"steps": 100, "n": 10, "exact": True, "sampler": "ddpm"}
"""Ten pictures one after the other: a thousand steps."""


class Service:
    """A running service and its one key; started again where a test has stopped it."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._stack: ExitStack | None = None
        self.address = ""
        self.model = config.models[0]

    def start(self) -> None:
        if self._stack is None:
            self._stack = ExitStack()
            self.address = self._stack.enter_context(serving(self._config)).address

    def stop(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=KEY, timeout=300)

    def post(self, body: dict[str, Any], timeout: float = 300) -> httpx2.Response:
        return httpx2.post(
            f"{self.address}/v1/images/generations",
            json={"prompt": "7", **body},
            headers={"authorization": f"Bearer {KEY}"},
            timeout=timeout,
        )

    def stats(self) -> dict[str, Any]:
        """The engine's counts."""
        from ray import serve

        handle: Any = serve.get_deployment_handle("drawing", "darkroom")
        found: dict[str, Any] = handle.stats.remote().result(timeout_s=60)
        return found


def eventually(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.05)


@contextmanager
def service_in(folder: Path, **settings: Any) -> Iterator[Service]:
    """A service of random weights named digits, which tests may stop and start."""
    model = folder / "digits" / "model"
    publish_model(model)
    (folder / "keys").write_text(f"team {KEY}\n")
    values = {"models": [str(model)], "port": 0, "keys": f"{folder}/keys", "drain_seconds": 300.0}
    service = Service(build_config(ServeConfig, values | settings))
    try:
        yield service
    finally:
        service.stop()
