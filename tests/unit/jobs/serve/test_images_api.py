"""`/v1/images/generations` with fake drawers: fields, errors, previews, leaving clients."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.helpers.certificates import manifest_of, signing_files
from tests.helpers.clock import Clock
from tests.helpers.serving import (
    DIGITS,
    PAINTER,
    FakeDrawers,
    client_of,
    eventually,
    http_api,
    listening,
)

from darkroom.errors import DarkroomError
from darkroom.jobs.drawing.picture_bytes import prompt_digest

PATH = "/v1/images/generations"
SEVEN = {"prompt": "7"}
PAINT = {"model": "painter", "prompt": "a"}
BAD, NOT_HERE = "invalid_value", "unsupported_value"


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def ask(body: Any, drawers: FakeDrawers | None = None, **settings: Any) -> httpx2.Response:
    """The answer to one body, which is sent as JSON, or as it is where it is bytes."""

    async def send() -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with client_of(http_api(drawers or FakeDrawers(), **settings)) as client:
            return await client.post(
                PATH, content=content, headers={"content-type": "application/json"}
            )

    return asyncio.run(send())


def picture(data: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data["b64_json"])))


def events_of(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append({"event": lines["event"], **json.loads(lines["data"])})
    return found


def test_a_picture_comes_with_all_that_draws_it_again() -> None:
    drawers = FakeDrawers()
    body = ask({"prompt": "7", "n": 2, "seed": 40, "index": 3, "steps": 5}, drawers).json()
    first, second = body["data"]
    assert (first["seed"], first["index"], first["steps"]) == (40, 3, 5)
    assert (second["seed"], second["index"]) == (40, 4)
    assert first["prompt_digest"] == prompt_digest("7")
    assert (body["model"], body["model_digest"]) == ("digits", DIGITS.digest)
    assert (body["size"], body["output_format"], body["background"]) == ("28x28", "png", "opaque")
    assert np.asarray(picture(first)).tolist() == [[43] * 28] * 28
    assert [request.label for request in drawers.asked] == ["7", "7"]
    assert drawers.asked[0].sampler == "ddim"


def test_without_a_seed_one_is_drawn_and_told() -> None:
    seeds = {ask({"prompt": "1"}).json()["data"][0]["seed"] for _ in range(2)}
    assert len(seeds) == 2
    assert max(seeds) < 2**32


def test_what_a_prompt_model_is_asked() -> None:
    drawers = FakeDrawers()
    body = ask(
        {
            "model": "painter", "prompt": "a fox", "size": "128x64", "guidance_scale": 7.5,
            "negative_prompt": "rain", "sampler": "euler", "lora": "ink", "exact": True,
            "output_format": "webp", "output_compression": 100, "user": "u", "seed": 1,
            "safety_identifier": "s", "background": "opaque", "moderation": "auto", "style": None,
        },
        drawers,
    ).json()  # fmt: skip
    (asked,) = drawers.asked
    assert (asked.prompt, asked.negative_prompt, asked.label) == ("a fox", "rain", None)
    assert (asked.width, asked.height, asked.guidance) == (128, 64, 7.5)
    assert (asked.sampler, asked.lora, asked.exact) == ("euler", "ink", True)
    assert body["lora_digest"] == PAINTER.loras["ink"]
    with picture(body["data"][0]) as image:
        assert (image.format, image.size) == ("WEBP", (128, 64))
        assert b"trainedAlgorithmicMedia" in image.info["xmp"]


@pytest.mark.parametrize(
    ("body", "status", "param", "code", "words"),
    [
        ({"promt": "7"}, 400, "promt", "unknown_parameter", "did you mean 'prompt'"),
        ({**SEVEN, "model": "digit"}, 404, "model", "model_not_found", "did you mean 'digits'"),
        ({"prompt": 7}, 400, "prompt", "invalid_type", "string"),
        ({**SEVEN, "n": 10**9}, 400, "n", BAD, "from 1 to 10"),
        ({**SEVEN, "n": 0}, 400, "n", BAD, "from 1 to 10"),
        ({**SEVEN, "n": 1.5}, 400, "n", "invalid_type", "integer"),
        ({**SEVEN, "n": "4"}, 400, "n", "invalid_type", "integer"),
        ({**SEVEN, "steps": 251}, 400, "steps", BAD, "at most 250"),
        ({**SEVEN, "seed": -1}, 400, "seed", BAD, "greater"),
        ({**SEVEN, "seed": 2**63}, 400, "seed", BAD, "less"),
        ({**SEVEN, "size": "32x32"}, 400, "size", BAD, "28x28 only"),
        ({**SEVEN, "size": "big"}, 400, "size", BAD, "WIDTHxHEIGHT"),
        ({"prompt": "seven"}, 400, "prompt", "unknown_class", "known: 0, 1"),
        ({"class": "11"}, 400, "class", "unknown_class", "did you mean '1'"),
        ({"class": "7", "prompt": "8"}, 400, "prompt", BAD, "reads no prompt"),
        ({}, 400, "class", "missing_required_parameter", "name one"),
        ({**SEVEN, "negative_prompt": "x"}, 400, "negative_prompt", BAD, "none"),
        ({**PAINT, "negative_prompt": "x", "guidance_scale": 1}, 400, "negative_prompt", BAD,
         "no effect at guidance 1; set guidance_scale above 1"),
        ({**SEVEN, "sampler": "dim"}, 400, "sampler", BAD, "did you mean 'ddim'"),
        ({**SEVEN, "lora": "ink"}, 400, "lora", "unknown_lora", "unknown LoRA"),
        ({"model": "painter"}, 400, "prompt", "missing_required_parameter", "required"),
        ({**PAINT, "class": "7"}, 400, "class", BAD, "leave"),
        ({**PAINT, "size": "60x64"}, 400, "size", BAD, "of 8"),
        ({**PAINT, "size": "2048x64"}, 400, "size", BAD, "to 1024"),
        ({**SEVEN, "response_format": "url"}, 400, "response_format", NOT_HERE, "b64_json"),
        ({**SEVEN, "output_format": "gif"}, 400, "output_format", NOT_HERE, "webp"),
        ({**SEVEN, "background": "transparent"}, 400, "background", NOT_HERE, "opaque"),
        ({**SEVEN, "quality": "hd"}, 400, "quality", NOT_HERE, "set steps"),
        ({**SEVEN, "moderation": "low"}, 400, "moderation", NOT_HERE, "auto"),
        ({**SEVEN, "style": "vivid"}, 400, "style", "unsupported_parameter", "prompt"),
        ({**SEVEN, "svg": {"model": "m"}}, 400, "svg", "unsupported_parameter", "pixels"),
        ({**SEVEN, "output_compression": 50}, 400, "output_compression", BAD, "webp"),
        ({**SEVEN, "partial_images": 2}, 400, "partial_images", BAD, "stream"),
        ({**SEVEN, "partial_images": 4, "stream": True}, 400, "partial_images", BAD, "3"),
        ({"prompt": "x" * 32_001}, 400, "prompt", "string_above_max_length", "32000"),
        ({"prompt": "\ud800"}, 400, "prompt", BAD, "surrogate"),
        ({"prompt": "x" * 2**20}, 413, None, "body_too_large", "larger than"),
        (b'{"prompt": "7"', 400, None, "invalid_json", "no JSON"),
        (b"\xff\xfe", 400, None, "invalid_json", "no JSON"),
        (b'{"guidance_scale": NaN}', 400, None, "invalid_json", "NaN"),
        (b'{"n": 1' + b"0" * 5000 + b"}", 400, None, "invalid_json", "no JSON"),
        (b"[" * 100_000, 400, None, "invalid_json", "no JSON"),
        ([], 400, None, "invalid_json", "object"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_its_name(
    body: Any, status: int, param: str | None, code: str, words: str
) -> None:
    drawers = FakeDrawers()
    response = ask(body, drawers)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    assert len(error["message"]) < 1600
    assert not drawers.asked


@pytest.mark.parametrize("stream", [False, True])
def test_a_negative_prompt_is_refused_before_anything_where_the_model_takes_none(
    stream: bool,
) -> None:
    drawers = FakeDrawers(served=(DIGITS, replace(PAINTER, negative_prompts=False)))
    response = ask({**PAINT, "negative_prompt": "x", "stream": stream}, drawers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == ("negative_prompt", BAD)
    assert "painter takes none; leave it out" in error["message"]
    assert not drawers.asked


def test_the_services_limit_of_steps_holds_where_a_request_says_nothing() -> None:
    drawers = FakeDrawers()
    assert DIGITS.defaults.num_steps == 50

    async def scenario() -> None:
        async with client_of(http_api(drawers, limits={"max_steps": 20})) as client:
            (drawn,) = (await client.post(PATH, json=SEVEN)).json()["data"]
            assert drawn["steps"] == 20
            told = (await client.get("/v1/models/digits")).json()
            assert (told["max_steps"], told["defaults"]["num_steps"]) == (20, 20)

    run(scenario)
    assert [asked.num_steps for asked in drawers.asked] == [20]


def test_a_stream_has_partial_pictures_and_then_each_picture() -> None:
    response = ask({"prompt": "7", "seed": 8, "stream": True, "partial_images": 2, "steps": 3})
    assert response.headers["content-type"].startswith("text/event-stream")
    *partial, last = events_of(response.text)
    assert [each["type"] for each in partial] == ["image_generation.partial_image"] * 2
    assert [each["partial_image_index"] for each in partial] == [0, 1]
    assert last["event"] == last["type"] == "image_generation.completed"
    assert (last["seed"], last["steps"], last["model_digest"]) == (8, 3, DIGITS.digest)
    assert np.asarray(picture(last))[0, 0] == 8


def test_with_a_key_pictures_and_previews_are_signed(tmp_path: Path) -> None:
    body = {"prompt": "7", "seed": 8, "stream": True, "partial_images": 1, "output_format": "webp"}
    response = ask(body, signing=signing_files(tmp_path))
    events = events_of(response.text)
    assert len(events) == 2
    for each in events:
        manifest = manifest_of(base64.b64decode(each["b64_json"]), "image/webp")
        assert manifest["state"] == "Valid"
    assert np.asarray(picture(ask({**SEVEN, "seed": 8}).json()["data"][0]))[0, 0] == 8


def test_a_failure_in_a_stream_is_its_last_event() -> None:
    drawers = FakeDrawers(fault=DarkroomError("the model gave numbers that are none"))
    (only,) = events_of(ask({"prompt": "7", "stream": True}, drawers).text)
    assert only["event"] == "error"
    assert only["error"]["code"] == "drawing_failed"
    assert only["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry"),
    [
        (DarkroomError("no numbers"), 500, "drawing_failed", "false"),
        (RuntimeError("secret"), 500, "internal_error", None),
        (MemoryError(), 503, "out_of_memory", None),
    ],
)
def test_a_failed_drawing_is_told_and_stops_the_others(
    fault: Exception, status: int, code: str, retry: str | None
) -> None:
    drawers = FakeDrawers(fault=fault)
    response = ask({"prompt": "7", "n": 3}, drawers)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers.get("x-should-retry") == retry
    assert "secret" not in response.text
    assert drawers.stopped == len(drawers.asked)


def test_a_deadline_ends_a_drawing_and_asks_for_no_retry() -> None:
    drawers = FakeDrawers(step_seconds=0.1)  # five seconds in all
    limits = {"deadline_seconds": 1.0}
    response = ask({"prompt": "7"}, drawers, limits=limits)
    assert response.status_code == 408
    assert response.headers["x-should-retry"] == "false"
    assert drawers.stopped == 1
    (only,) = events_of(ask({"prompt": "7", "stream": True}, drawers, limits=limits).text)
    assert only["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("extra", [{}, {"x-request-disconnect-disabled": "?1"}])
def test_a_client_that_goes_away_stops_its_drawing(stream: bool, extra: dict[str, str]) -> None:
    async def scenario() -> None:
        drawers = FakeDrawers(step_seconds=0.02)
        api = http_api(drawers)
        async with listening(api) as url, httpx2.AsyncClient(headers=extra) as client:
            body = {"prompt": "7", "n": 2, "steps": 250, "stream": stream, "seed": 1}
            sending = asyncio.create_task(client.post(url + PATH, json=body))
            await eventually(lambda: drawers.steps >= 4)
            sending.cancel()
            await eventually(lambda: drawers.stopped == 2)
            assert drawers.steps < 400
            await eventually(lambda: not api.under_way)

    run(scenario)


def test_streams_send_heartbeats_that_the_official_client_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("darkroom.jobs.serve.images_api.HEARTBEAT_SECONDS", 0.05)
    drawers = FakeDrawers(step_seconds=0.2)
    response = ask({"prompt": "7", "stream": True, "steps": 5}, drawers)
    assert ": drawing\n\n" in response.text
    assert "id:" not in response.text
    assert "retry:" not in response.text


def test_drawings_close_their_connection() -> None:
    assert ask({"prompt": "7"}).headers["connection"] == "close"


def test_other_addresses_and_methods_answer_in_the_same_shape() -> None:
    async def scenario() -> None:
        async with client_of(http_api(FakeDrawers())) as client:
            missing = await client.get("/v1/imagess")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
            wrong = await client.get(PATH)
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")

    run(scenario)


def test_models_say_what_they_can_do() -> None:
    async def scenario() -> None:
        async with client_of(http_api(FakeDrawers())) as client:
            listed = (await client.get("/v1/models")).json()
            assert [each["id"] for each in listed["data"]] == ["digits", "painter"]
            assert listed["data"][0]["steps_joined"] is True
            assert listed["data"][0]["max_steps"] == 250, "no more than the service takes"
            assert (await client.get("/v1/models/painter")).json()["loras"] == PAINTER.loras
            missing = await client.get("/v1/models/paintr")
            assert missing.status_code == 404
            assert "did you mean 'painter'" in missing.json()["error"]["message"]
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).json() == {"status": "ready"}

    run(scenario)


def test_unloaded_models_and_stopping_services_are_not_ready() -> None:
    class Unloaded(FakeDrawers):
        async def models(self) -> Any:
            raise RuntimeError("loading")

    async def scenario() -> None:
        api = http_api(Unloaded())
        async with client_of(api) as client:
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
        api = http_api(FakeDrawers())
        api.draining = True
        async with client_of(api) as client:
            assert (await client.get("/readyz")).status_code == 503
            refused = await client.post(PATH, json={"prompt": "7"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert refused.headers["retry-after"] == "5"

    run(scenario)


def test_a_request_waits_for_the_first_model_and_who_only_looks_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when what draws has gone to zero, and this replica has never seen it."""
    monkeypatch.setattr("darkroom.jobs.serve.http_api._MODELS_SECONDS", 0.01)
    loaded = asyncio.Event()

    class Loading(FakeDrawers):
        async def models(self) -> Any:
            await loaded.wait()
            return self.served

    async def scenario() -> None:
        async with client_of(http_api(Loading())) as client:
            drawing = asyncio.create_task(client.post(PATH, json={"prompt": "7", "steps": 1}))
            await asyncio.sleep(0)
            for path in ("/readyz", "/v1/models"):
                answer = await client.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert not drawing.done()
            loaded.set()
            assert (await drawing).status_code == 200
            assert (await client.get("/readyz")).status_code == 200

    run(scenario)


def test_a_request_waits_for_the_first_model_until_its_deadline() -> None:
    class Never(FakeDrawers):
        async def models(self) -> Any:
            await asyncio.Event().wait()

    async def scenario() -> None:
        api = http_api(Never(), limits={"deadline_seconds": 0.05})
        async with client_of(api) as client:
            answer = await client.post(PATH, json={"prompt": "7", "steps": 1})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")

    run(scenario)


def test_models_are_asked_for_once_and_remembered_when_replicas_are_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(FakeDrawers):
        calls = 0
        busy = False

        async def models(self) -> Any:
            self.calls += 1
            await asyncio.sleep(60.0 if self.busy else 0.0)
            return self.served

    async def scenario() -> None:
        drawers = Busy()
        async with client_of(http_api(drawers)) as client:
            body = {"prompt": "7", "steps": 1}
            answers = await asyncio.gather(*(client.post(PATH, json=body) for _ in range(20)))
            assert {answer.status_code for answer in answers} == {200}
            assert drawers.calls == 1
            drawers.busy = True
            monkeypatch.setattr("darkroom.jobs.serve.http_api._KNOWN_SECONDS", 0.0)
            monkeypatch.setattr("darkroom.jobs.serve.http_api._MODELS_SECONDS", 0.1)
            assert (await client.post(PATH, json=body)).status_code == 200
            assert (await client.get("/readyz")).status_code == 503

    run(scenario)


def test_a_service_whose_replicas_do_not_answer_is_not_ready_under_traffic_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Leaving(FakeDrawers):
        calls = 0
        gone = False

        async def models(self) -> Any:
            self.calls += 1
            if self.gone:
                raise RuntimeError("no replica")
            return self.served

    clock = Clock()
    monkeypatch.setattr("darkroom.jobs.serve.http_api.time", SimpleNamespace(monotonic=clock))

    async def scenario() -> None:
        drawers = Leaving()
        async with client_of(http_api(drawers)) as client:
            body = {"prompt": "7", "steps": 1}
            assert (await client.post(PATH, json=body)).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert drawers.calls == 1
            drawers.gone = True
            clock.now += 60
            for _ in range(2):
                assert (await client.post(PATH, json=body)).status_code == 200
                assert drawers.calls == 2, "no other request waits for them"
            assert (await client.get("/readyz")).status_code == 503
            drawers.gone = False
            assert (await client.get("/readyz")).status_code == 200

    run(scenario)
