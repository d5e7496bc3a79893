"""The drawing engine: who shares a step changes nothing, who leaves disturbs nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tests.helpers.drawing_engine import (
    Told,
    ask,
    ask_all,
    ask_alone,
    close,
    have_left,
    held_until,
    leave,
    levels_apart,
    mixed,
    together,
    usual,
)
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.errors import (
    ClosingError,
    ConfigError,
    DeadlineError,
    DeviceMemoryError,
    ReplicaLostError,
    ServingError,
)
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.serve.engine.class_model import ServedClassModel
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.engine.ticket import Ticket
from darkroom.jobs.serve.request import Drawing, DrawRequest
from darkroom.models.find import find_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(publish_model(tmp_path_factory.mktemp("model")).uri)


def engine_of(place: str, **settings: Any) -> Engine:
    engine = Engine([ModelSource(name="digits", model=place)], **settings)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def engine(place: str) -> Iterator[Engine]:
    """With a cap that does not depend on how busy the machine is."""
    engine = engine_of(place)
    fix_caps(engine, 8)
    yield engine
    close(engine)


def fix_caps(engine: Engine, cap: int) -> None:
    caps: Any = engine._thread.caps
    caps.knows = lambda _key: True
    caps.of = lambda key: 1 if key.exact else cap
    engine._thread._batcher._cap = caps.of


def as_sample_draws(place: str, request: DrawRequest) -> Any:
    """The picture of `darkroom sample` with the same settings, drawn by itself."""
    values = {
        "num_steps": request.num_steps,
        "guidance_scale": request.guidance,
        "sampler": request.sampler,
    }
    config = build_config(ClassDrawingConfig, values)
    drawer = ClassConditionalDrawer(config, find_model(place, field="input"))
    seed = image_seed(request.seed, request.index)
    (drawn,) = drawer.draw([Request("0", request.label, seed)])
    assert isinstance(drawn, Drawn)
    return drawn.pixels


def test_forty_at_once_are_what_each_is_alone_and_what_sample_draws(
    engine: Engine, place: str
) -> None:
    requests = mixed(engine, 40)
    before = engine.stats()
    with held_until(engine, together(40)):
        crowd = ask_all(engine, requests)
    after = engine.stats()
    alone = ask_alone(engine, requests)
    for request, one, other in zip(requests, crowd, alone, strict=True):
        assert levels_apart(one.pixels, other.pixels) <= 1
        if request.seed % 6 == 0:
            assert levels_apart(one.pixels, as_sample_draws(place, request)) <= 1
    rows, steps = (after[name] - before[name] for name in ("rows", "steps"))
    assert rows / steps > 2, "they did share steps"
    assert max(told.drawing.largest_batch for told in crowd if told.drawing) == 8
    assert {told.drawing.largest_batch for told in alone if told.drawing} == {1}
    flat = np.stack([told.pixels.ravel() for told in crowd])
    assert len(np.unique(flat, axis=0)) == 40


def test_one_drawn_alone_is_bit_for_bit_the_same_in_any_crowd(engine: Engine) -> None:
    exact = usual(engine, seed=5, num_steps=9, sampler="ddpm", exact=True)
    (alone,) = ask_all(engine, [exact])
    told = ask_all(engine, [*mixed(engine, 12), exact, *mixed(engine, 12)])[12]
    assert (told.pixels == alone.pixels).all()
    assert told.drawing is not None
    assert told.drawing.largest_batch == 1


def test_the_number_of_a_picture_is_that_of_a_sample_run(engine: Engine, place: str) -> None:
    first, second = (usual(engine, seed=3, num_steps=4, index=index) for index in (0, 1))
    drawn = ask_all(engine, [first, second])
    assert levels_apart(drawn[0].pixels, drawn[1].pixels) > 20
    assert levels_apart(drawn[1].pixels, as_sample_draws(place, second)) <= 1


def test_those_who_leave_disturb_nobody(engine: Engine) -> None:
    requests = mixed(engine, 10)
    alone = ask_alone(engine, requests)
    cancelled = engine.stats()["cancelled"]

    async def crowd() -> list[Any]:
        leaving = [leave(engine, usual(engine, seed=at, num_steps=50 + at)) for at in range(6)]
        staying = [ask(engine, each, delay=0.005 * at) for at, each in enumerate(requests)]
        told = (await asyncio.gather(*staying, *leaving))[: len(requests)]
        await ask(engine, usual(engine, num_steps=1))
        return told

    with held_until(engine, have_left):
        told = asyncio.run(crowd())
    for one, other in zip(told, alone, strict=True):
        assert levels_apart(one.pixels, other.pixels) <= 1
    assert engine.stats()["cancelled"] == cancelled + 6


def test_closing_the_iterator_stops_the_drawing_at_the_next_step(engine: Engine) -> None:
    before = engine.stats()

    async def then_draw() -> None:
        await leave(engine, usual(engine, num_steps=100))
        await ask(engine, usual(engine, num_steps=1))

    with held_until(engine, have_left):
        asyncio.run(then_draw())
    after = engine.stats()
    assert after["cancelled"] == before["cancelled"] + 1
    assert after["rows"] - before["rows"] < 100
    assert after["waiting"] == after["drawing"] == 0


def test_previews_come_in_order_and_near_the_end_look_like_the_picture(engine: Engine) -> None:
    (told,) = ask_all(engine, [usual(engine, num_steps=40, num_previews=3)])
    assert [(each.index, each.step) for each in told.previews] == [(0, 10), (1, 20), (2, 30)]
    apart = [levels_apart(each.pixels, told.pixels) for each in told.previews]
    assert apart[2] < apart[0]
    (few,) = ask_all(engine, [usual(engine, num_steps=2, num_previews=3)])
    assert [each.step for each in few.previews] == [1]


def test_a_deadline_ends_the_wait_and_the_drawing(engine: Engine) -> None:
    cancelled = engine.stats()["cancelled"]
    late = usual(engine, num_steps=100, timeout_seconds=0.02)
    fine = usual(engine, num_steps=20, timeout_seconds=600.0)

    def late_is_gone(tickets: list[Ticket]) -> bool:
        return not any(each.num_done and each.request == late for each in tickets)

    with held_until(engine, late_is_gone):
        told = ask_all(engine, [late, fine])
    ask_all(engine, [usual(engine, num_steps=1)])
    assert isinstance(told[0].error, DeadlineError)
    assert told[1].error is None
    assert engine.stats()["cancelled"] == cancelled + 1


class ShortMemory:
    """A network whose device has room for so many rows."""

    def __init__(self, network: Any, rows: int) -> None:
        self._network, self.rows = network, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def predict(self, x: torch.Tensor, t: torch.Tensor, **labels: torch.Tensor) -> torch.Tensor:
        if len(x) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        predicted: torch.Tensor = self._network.predict(x, t, **labels)
        return predicted


def test_out_of_memory_fails_that_batch_alone_and_halves_the_cap(place: str) -> None:
    engine = engine_of(place)
    try:
        model: Any = engine._thread.models["digits"]
        caps = engine._thread.caps
        requests = [usual(engine, seed=at, num_steps=6) for at in range(12)]
        key_cap = dict.fromkeys(caps._caps, 8)
        caps._caps.update(key_cap)
        alone = ask_alone(engine, requests)
        model._network = ShortMemory(model._network, rows=5)
        with held_until(engine, together(12)):
            crowd = ask_all(engine, requests)
        failed = [told for told in crowd if told.error is not None]
        assert len(failed) == 8
        assert all(isinstance(told.error, DeviceMemoryError) for told in failed)
        assert engine.stats()["out_of_memory"] == 1
        assert [entry["cap"] for entry in engine.stats()["caps"]] == [4]
        again = ask_all(engine, requests)
        for one, other in zip(again, alone, strict=True):
            assert levels_apart(one.pixels, other.pixels) <= 1
    finally:
        close(engine)


@pytest.mark.parametrize(
    "error", [RuntimeError("a kernel\nfailed"), ConfigError("lora", "/srv/ink", "is unreadable")]
)
def test_a_model_that_fails_is_told_to_its_batch_in_one_line(
    place: str, error: Exception, darkroom_log: list[str]
) -> None:
    engine = engine_of(place)
    try:
        model: Any = engine._thread.models["digits"]
        step = model.step

        def fails(pictures: Any) -> None:
            model.step = step
            raise error

        model.step = fails
        first, second = ask_alone(engine, [usual(engine), usual(engine, num_steps=3)])
        assert str(first.error) == "the model failed; the log of what draws says why"
        assert isinstance(first.error, ServingError)
        assert str(error) in "\n".join(darkroom_log)
        assert second.error is None
    finally:
        close(engine)


def test_an_engine_whose_thread_has_ended_is_not_alive(
    place: str, monkeypatch: pytest.MonkeyPatch, darkroom_log: list[str]
) -> None:
    engine = engine_of(place)
    engine.check_alive()

    def broken() -> None:
        raise RuntimeError("the batcher is broken")

    monkeypatch.setattr(engine._thread._batcher, "next_batch", broken)
    told = asyncio.run(ask(engine, usual(engine)))
    assert str(told.error) == "the engine failed; the log of what draws says why"
    assert "the batcher is broken" in "\n".join(darkroom_log)
    engine._thread._ended.result(timeout=60)
    late = asyncio.run(ask(engine, usual(engine)))
    for each in (told, late):
        assert isinstance(each.error, ReplicaLostError), "another replica may draw it"
    with pytest.raises(ServingError, match="draws nothing more"):
        engine.check_alive()


def test_closing_drains_and_takes_nothing_new(place: str) -> None:
    engine = engine_of(place)

    async def scenario() -> tuple[Any, Any]:
        under_way = asyncio.create_task(ask(engine, usual(engine, num_steps=60)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        late = await ask(engine, usual(engine))
        await closing
        return await under_way, late

    told, late = asyncio.run(scenario())
    assert isinstance(told.drawing, Drawing)
    assert isinstance(late.error, ClosingError)
    engine._thread._thread.join(timeout=600)
    assert not engine._thread._thread.is_alive()


def test_a_drain_that_takes_too_long_says_so_to_those_who_wait(place: str) -> None:
    engine = engine_of(place)

    async def scenario() -> Any:
        waiting = [
            asyncio.create_task(ask(engine, usual(engine, seed=at, num_steps=100, exact=True)))
            for at in range(20)
        ]
        await asyncio.sleep(0.02)
        await engine.close(timeout_seconds=0.02)
        return await asyncio.gather(*waiting)

    errors = [told.error for told in asyncio.run(scenario()) if told.error is not None]
    assert errors
    assert all(isinstance(error, ClosingError) for error in errors)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "digit"}, r"model: got 'digit', is not served here; did you mean 'digits'\?"),
        ({"num_steps": 101}, r"num_steps: got 101, must be between 1 and 100 with digits"),
        ({"width": 16}, r"width: got 16, must be 8 with digits"),
        ({"seed": -1}, "seed: got -1, must be between 0"),
        ({"guidance": float("nan")}, "guidance"),
        ({"sampler": "euler"}, "sampler: got 'euler', digits has none of that name"),
        ({"label": None}, "label: digits needs a class; known: 0, 1"),
        ({"label": "seven"}, "label: got 'seven'"),
        ({"prompt": "a 7"}, "prompt: got 'a 7', digits draws classes"),
        ({"lora": "ink"}, "lora: got 'ink'"),
        ({"num_previews": 4}, "num_previews"),
    ],
)
def test_what_the_model_cannot_draw_is_refused_by_its_field(
    engine: Engine, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        engine.check(usual(engine, **values))


def test_a_model_without_classes_draws_too(tmp_path: Path) -> None:
    unet = tiny_unet(num_classes=None, channels=3)
    engine = engine_of(str(publish_model(tmp_path, unet, classes=()).uri))
    try:
        request = usual(engine, num_steps=3)
        assert request.label is None
        (told,) = ask_all(engine, [request])
        assert told.pixels.shape == (8, 8, 3)
        with pytest.raises(ConfigError, match="no null class"):
            engine.check(replace(request, guidance=2.0))
    finally:
        close(engine)


def test_what_cannot_be_loaded_is_said_where_it_is_asked_for(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="no model lies there"):
        engine_of(str(tmp_path / "nothing"))
    engine = Engine([ModelSource(name="digits", model=place, digest="0" * 64)])
    with pytest.raises(ConfigError, match="has the digest"):
        engine.load()


def test_requests_are_drawn_off_the_event_loop(engine: Engine) -> None:
    """The loop goes on while a step waits for it."""
    model: Any = engine._thread.models["digits"]
    assert isinstance(model, ServedClassModel)
    step, begun, seen = model.step, threading.Event(), threading.Event()

    def waiting_step(pictures: Any) -> None:
        begun.set()
        assert seen.wait(60), "the event loop stands still"
        step(pictures)

    async def scenario() -> Told:
        task = asyncio.create_task(ask(engine, usual(engine, num_steps=3)))
        while not begun.is_set():  # noqa: ASYNC110 - another thread's
            await asyncio.sleep(0.001)
        seen.set()
        return await task

    with mock.patch.object(model, "step", waiting_step):
        assert asyncio.run(scenario()).error is None
