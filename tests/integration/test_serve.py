"""A service on one Ray Serve, with a tiny model: everything that needs both.

What the HTTP side refuses and computes is tested in process (tests/unit/jobs/serve).
"""

from __future__ import annotations

import base64
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.tiny_artifacts import publish_model

from darkroom.config import build_config
from darkroom.diffusion.noise import image_seed
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.job import serving
from darkroom.models.find import find_model

KEY = "sk-" + "Zq8wX2" * 8
STEPS = 12
LONG = {"steps": 100, "n": 10, "exact": True, "sampler": "ddpm"}
"""Ten pictures one after the other: a thousand steps."""


class Service:
    """A running service and its one key; started again where a test has stopped it."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._stack: ExitStack | None = None
        self.address = ""

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

    def post(self, body: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(
            f"{self.address}/v1/images/generations",
            json={"prompt": "7", **body},
            headers={"authorization": f"Bearer {KEY}"},
            timeout=300,
        )

    def stats(self) -> dict[str, Any]:
        """The engine's counts."""
        from ray import serve

        handle: Any = serve.get_deployment_handle("drawing", "darkroom")
        found: dict[str, Any] = handle.stats.remote().result(timeout_s=60)
        return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("served") / "digits" / "model"
    publish_model(place)
    return str(place)


@pytest.fixture(scope="module")
def module_service(
    model: str, ray_local: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"team {KEY}\n")
    values = {"models": [model], "port": 0, "keys": str(keys), "drain_seconds": 60.0}
    service = Service(build_config(ServeConfig, values))
    yield service
    service.stop()


@pytest.fixture
def service(module_service: Service) -> Service:
    module_service.start()
    return module_service


def eventually(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.05)


def pixels(picture: Any) -> NDArray[np.int_]:
    data = base64.b64decode(picture.b64_json)
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def offline(model: str, seed: int) -> list[NDArray[np.uint8]]:
    """The first two that `darkroom sample --classes 7 --seed SEED` draws."""
    config = build_config(ClassDrawingConfig, {"num_steps": STEPS})
    drawer = ClassConditionalDrawer(config, find_model(model, field="input"))
    requests = [Request(str(index), "7", image_seed(seed, index)) for index in range(2)]
    return [one.pixels for one in drawer.draw(requests) if isinstance(one, Drawn)]


def test_the_official_client_draws_what_sample_draws(service: Service, model: str) -> None:
    assert [each.id for each in service.client.models.list()] == ["digits"]
    extra = {"seed": 3, "steps": STEPS}
    answer = service.client.images.generate(prompt="7", n=2, extra_body=extra)
    assert answer.data is not None
    for served, sampled in zip(answer.data, offline(model, 3), strict=True):
        assert np.abs(pixels(served) - sampled).max() <= 1
    stream = service.client.images.generate(
        prompt="7", stream=True, partial_images=3, extra_body=extra
    )
    *partial, last = list(stream)
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 3
    assert last.b64_json == answer.data[0].b64_json


def test_strangers_and_nonsense_are_refused_by_the_application(service: Service) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{service.address}/v1", api_key="x" * 32).models.list()
    with pytest.raises(openai.BadRequestError) as refused:
        service.client.images.generate(prompt="7", n=10**9)
    assert (refused.value.param, refused.value.code) == ("n", "invalid_value")
    large = service.post({"prompt": "x" * 2**20})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


def go_away(service: Service, body: dict[str, Any], headers: dict[str, str]) -> None:
    """Ask, and hang up when drawing has begun. Errors: ReadTimeout, as of one who waits no more."""
    before = service.stats()["steps"]
    with (
        httpx2.Client(timeout=1.0) as client,
        client.stream(
            "POST",
            f"{service.address}/v1/images/generations",
            json={"prompt": "7", **body},
            headers={"authorization": f"Bearer {KEY}", **headers},
        ),
    ):
        eventually(lambda: service.stats()["steps"] > before)
        raise httpx2.ReadTimeout("a stream's client goes away too")


@pytest.mark.parametrize(
    "headers", [{}, {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_drawing(
    service: Service, stream: bool, headers: dict[str, str]
) -> None:
    before = service.stats()
    with pytest.raises(httpx2.ReadTimeout):
        go_away(service, {**LONG, "stream": stream}, headers)
    eventually(lambda: service.stats()["drawing"] == service.stats()["waiting"] == 0)
    assert service.stats()["drawn"] - before["drawn"] < 10
    assert service.stats()["cancelled"] > before["cancelled"]


def test_a_replica_that_dies_fails_no_request_that_it_was_drawing(service: Service) -> None:
    expected = service.post({**LONG, "n": 2, "seed": 5}).json()["data"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.post, {**LONG, "n": 2, "seed": 5})
        eventually(lambda: service.stats()["drawing"] > 0 or answer.done())
        os.kill(service.stats()["pid"], signal.SIGKILL)
        response = answer.result()
    assert response.status_code == 200, response.text
    assert [each["b64_json"] for each in response.json()["data"]] == [
        each["b64_json"] for each in expected
    ]


def test_stopping_finishes_what_is_under_way_and_takes_nothing_new(service: Service) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.post, LONG)
        eventually(lambda: service.stats()["drawing"] > 0 or answer.done())
        stopping = pool.submit(service.stop)
        refused = service.post({"steps": 1})
        while refused.status_code == 200:  # it was let in before the service knew
            refused = service.post({"steps": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert len(answer.result().json()["data"]) == 10
        stopping.result()
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{service.address}/healthz")
