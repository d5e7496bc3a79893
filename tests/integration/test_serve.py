"""A service on one Ray Serve, with a tiny model: everything that needs both.

What the HTTP side refuses and computes is tested in process (tests/unit/jobs/serve); lost replicas
and stopping in tests/runs/test_serve_faults.py.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import re
from contextlib import aclosing, closing
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.helpers.serve_runs import KEY, LONG, Service, eventually

from darkroom.config import build_config
from darkroom.diffusion.seeds import image_seed
from darkroom.errors import ConfigError
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.serve.request import DrawRequest
from darkroom.jobs.serve.telemetry import METRICS, PREFIX
from darkroom.models.find import find_model

STEPS = 12


def pixels(picture: Any) -> NDArray[np.int_]:
    data = base64.b64decode(picture.b64_json)
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def offline(model: str, seed: int) -> list[NDArray[np.uint8]]:
    """The first two that `darkroom sample --classes 7 --seed SEED` draws."""
    config = build_config(ClassDrawingConfig, {"num_steps": STEPS})
    drawer = ClassConditionalDrawer(config, find_model(model, field="input"))
    requests = [Request(str(index), "7", image_seed(seed, index)) for index in range(2)]
    return [one.pixels for one in drawer.draw(requests) if isinstance(one, Drawn)]


def test_the_official_client_draws_what_sample_draws(service: Service) -> None:
    assert [each.id for each in service.client.models.list()] == ["digits"]
    extra = {"seed": 3, "steps": STEPS}
    answer = service.client.images.generate(prompt="7", n=2, extra_body=extra)
    assert answer.data is not None
    for served, sampled in zip(answer.data, offline(service.model, 3), strict=True):
        assert np.abs(pixels(served) - sampled).max() <= 1
    stream = service.client.images.generate(
        prompt="7", stream=True, partial_images=3, extra_body=extra
    )
    *partial, last = list(stream)
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 3
    assert last.b64_json == answer.data[0].b64_json


def exported() -> str:
    """What Prometheus would scrape."""
    import ray

    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    return httpx2.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=30).text


def test_what_the_engine_counts_is_exported(service: Service) -> None:
    service.client.images.generate(prompt="7", extra_body={"steps": STEPS})
    faults = {"cancelled", "failed", "out_of_memory"}  # there once there has been one
    names = set(METRICS) - {f"{PREFIX}{fault}_total" for fault in faults}
    eventually(lambda: all(f"ray_{name}{{" in exported() for name in names))
    (drawn,) = re.findall(
        r"^ray_darkroom_serve_drawn_total\{(.*)\} (\S+)$", exported(), re.MULTILINE
    )
    assert 'deployment="drawing"' in drawn[0]
    assert float(drawn[1]) >= 1


def test_strangers_and_nonsense_are_refused_by_the_application(service: Service) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{service.address}/v1", api_key="x" * 32).models.list()
    with pytest.raises(openai.BadRequestError) as refused:
        service.client.images.generate(prompt="7", n=10**9)
    assert (refused.value.param, refused.value.code) == ("n", "invalid_value")
    large = service.post({"prompt": "x" * 2**20})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


def test_what_a_replica_raises_arrives_as_it_was_raised(service: Service) -> None:
    """Not as Ray's own error, whose text is the traceback. The HTTP side sends nothing unfit."""
    from ray import serve

    from darkroom.jobs.serve.app import HandleDrawers

    assert service.address
    drawers = HandleDrawers(serve.get_deployment_handle("drawing", "darkroom"))
    unfit = DrawRequest(
        model="digits", seed=1, num_steps=2, guidance=1.0, sampler="ddim", width=8, height=8,
        label="seven",
    )  # fmt: skip

    async def scenario() -> None:
        async with aclosing(drawers.draw(unfit)) as items:
            async for _ in items:
                pass

    with pytest.raises(ConfigError) as caught:
        asyncio.run(scenario())
    assert type(caught.value) is ConfigError
    assert caught.value.field == "label"
    assert "Traceback" not in str(caught.value)


def go_away(service: Service, body: dict[str, Any], headers: dict[str, str]) -> None:
    """Ask, and hang up when drawing has begun."""
    before = service.stats()["steps"]
    connection = http.client.HTTPConnection(service.address.removeprefix("http://"))
    with closing(connection):
        asked = json.dumps({"prompt": "7", **body})
        told = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers}
        connection.request("POST", "/v1/images/generations", asked, told)
        eventually(lambda: service.stats()["steps"] > before)


@pytest.mark.parametrize(
    "headers", [{}, {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_drawing(
    service: Service, stream: bool, headers: dict[str, str]
) -> None:
    before = service.stats()
    go_away(service, {**LONG, "stream": stream}, headers)

    def is_idle() -> bool:
        now = service.stats()
        has_ended = now["cancelled"] > before["cancelled"] or now["drawn"] - before["drawn"] >= 10
        return bool(has_ended and now["drawing"] == now["waiting"] == 0)

    eventually(is_idle)
    assert service.stats()["drawn"] - before["drawn"] < 10
    assert service.stats()["cancelled"] > before["cancelled"]
