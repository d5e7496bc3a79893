"""The official client draws, streams, reads errors, and comes back by itself after a 429."""

from __future__ import annotations

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from PIL import Image
from tests.helpers.official_client import with_client
from tests.helpers.serving import FakeDrawers
from tests.helpers.serving_jobs import SlowDrawers

from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError


def test_it_generates() -> None:
    def do(client: openai.OpenAI) -> openai.types.ImagesResponse:
        assert [model.id for model in client.models.list()] == ["digits", "painter"]
        return client.images.generate(
            prompt="7",
            n=4,
            response_format="b64_json",
            user="u",
            extra_body={"seed": 5, "steps": 2},
        )

    answer = with_client(do)
    assert answer.data is not None
    extras = [picture.model_extra for picture in answer.data]
    assert [(extra["seed"], extra["index"], extra["steps"]) for extra in extras] == [
        (5, index, 2) for index in range(4)
    ]
    assert (answer.output_format, answer.background) == ("png", "opaque")
    data = base64.b64decode(answer.data[3].b64_json or "")
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == 8


def test_it_streams() -> None:
    def do(client: openai.OpenAI) -> list[Any]:
        with client.images.generate(
            prompt="a fox",
            model="painter",
            stream=True,
            partial_images=2,
            size="64x64",
        ) as stream:
            return list(stream)

    events = with_client(do)
    assert [event.type.rpartition(".")[2] for event in events] == ["partial_image"] * 2 + [
        "completed"
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert base64.b64decode(events[-1].b64_json).startswith(b"\x89PNG")


def test_errors_have_code_and_param() -> None:
    def do(client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(prompt="7", extra_body={"stepz": 3})
        assert (caught.value.param, caught.value.code) == ("stepz", "unknown_parameter")
        assert "did you mean 'steps'" in caught.value.message
        with pytest.raises(openai.NotFoundError) as missing:
            client.images.generate(prompt="7", model="dall-e-3")
        assert (missing.value.param, missing.value.code) == ("model", "model_not_found")

    with_client(do)


def test_an_error_within_a_stream_is_raised() -> None:
    def do(client: openai.OpenAI) -> None:
        stream = client.images.generate(prompt="7", stream=True)
        with pytest.raises(openai.APIError, match="failed"):
            list(stream)

    with_client(do, FakeDrawers(fault=RuntimeError("x")))


def test_it_comes_back_by_itself_after_a_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.jobs.serve.admission._FIRST_RETRY_SECONDS", 1.0)
    drawers = SlowDrawers(most=0)  # the first is not done before the second was refused
    refused = 0
    check_room = Admission._check_room

    def counting(door: Admission, work: float) -> None:
        nonlocal refused
        try:
            check_room(door, work)
        except ApiError:
            refused += 1
            raise

    monkeypatch.setattr(Admission, "_check_room", counting)

    def do(client: openai.OpenAI) -> None:
        with ThreadPoolExecutor() as pool:
            try:
                first = pool.submit(client.images.generate, prompt="7", extra_body={"steps": 20})
                while not drawers.asked and not first.done():
                    time.sleep(0.01)
                with pytest.raises(openai.RateLimitError) as caught:
                    client.with_options(max_retries=0).images.generate(prompt="7")
                assert caught.value.code == "busy"
                images = client.with_options(max_retries=20).images.with_raw_response
                again = pool.submit(images.generate, prompt="7", extra_body={"steps": 1})
                while refused < 2 and not again.done():
                    time.sleep(0.01)
            finally:
                drawers.most = None
            assert again.result().retries_taken >= 1
            assert first.result().data

    with_client(do, drawers, limits={"max_requests": 1})
    assert len(drawers.asked) == 2


def test_a_deadline_is_drawn_once() -> None:
    drawers = FakeDrawers(step_seconds=0.1)  # five seconds in all

    def do(client: openai.OpenAI) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            client.images.generate(prompt="7")
        assert caught.value.status_code == 408

    with_client(do, drawers, limits={"deadline_seconds": 1.0})
    assert len(drawers.asked) == 1
