"""Proof: the drawing engine with the digits recipe's network, trained here.

Forty requests of mixed steps, samplers, seeds, classes and guidance at once, with others that leave
midway: each picture within one grey level of the lone run and of `sample`'s drawer. In half
precision the differences are measured, and `exact` is held to be bit for bit the lone run.
`build/proofs/serve-exactness.json` has the largest differences. SERVE_PROOF_STEPS sets how long
the network is trained (300 steps by default; what it draws is recognisable).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.helpers.digits_model import NUM_TRAIN_STEPS, train
from tests.helpers.drawing_engine import Told, ask, ask_alone, close, leave, levels_apart, mixed
from tests.helpers.proof import FOLDER, keep

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig, DrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.serve.engine.engine import Engine
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.request import DrawRequest
from darkroom.models.find import find_model
from darkroom.pages.sheet import SheetRow, contact_sheet

STEPS = (10, 20, 35, 50)


def as_sample_draws(place: str, requests: list[DrawRequest]) -> list[Any]:
    """With the same settings, those of equal settings in one batch."""
    drawn: dict[int, Any] = {}
    found = find_model(place, field="input")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at, request in enumerate(requests):
        key = (request.sampler, request.num_steps, request.guidance)
        groups.setdefault(key, []).append(at)
    for (sampler, num_steps, guidance), members in groups.items():
        values = {"sampler": sampler, "num_steps": num_steps, "guidance_scale": guidance}
        drawer = ClassConditionalDrawer(build_config(ClassDrawingConfig, values), found)
        wanted = [
            Request(str(at), requests[at].label, image_seed(requests[at].seed, 0)) for at in members
        ]
        for at, one in zip(members, drawer.draw(wanted), strict=True):
            assert isinstance(one, Drawn)
            drawn[at] = one.pixels
    return [drawn[at] for at in range(len(requests))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return train(tmp_path_factory.mktemp("digits"))


@contextmanager
def engine_of(place: str, **config: Any) -> Iterator[Engine]:
    """With the model loaded."""
    drawing = build_config(DrawingConfig, config)
    engine = Engine([ModelSource(name="digits", model=place)], drawing)
    engine.load()
    try:
        yield engine
    finally:
        close(engine)


def in_a_crowd(engine: Engine, requests: list[DrawRequest]) -> list[Told]:
    """All at once, from lines with guidance and without, while others join and end."""

    async def crowd() -> list[Any]:
        leaving = [
            leave(engine, replace(each, num_steps=60), delay=0.1 * at)
            for at, each in enumerate(mixed(engine, 16)[::2])
        ]
        staying = [ask(engine, each, delay=0.02 * at) for at, each in enumerate(requests)]
        return (await asyncio.gather(*staying, *leaving))[: len(requests)]

    return asyncio.run(crowd())


def apart(some: list[Told], others: list[Any]) -> list[int]:
    """Largest differences in grey levels, picture by picture."""
    return [levels_apart(one.pixels, other) for one, other in zip(some, others, strict=True)]


def test_forty_requests_at_once_are_what_each_is_alone(place: str) -> None:
    with engine_of(place) as engine:
        requests = mixed(engine, 40, steps=STEPS)
        together = in_a_crowd(engine, requests)
        stats = engine.stats()
        alone = ask_alone(engine, requests)
    sampled = as_sample_draws(place, requests)
    from_alone = apart(together, [told.pixels for told in alone])
    from_sample = apart(together, sampled)
    largest = [told.drawing.largest_batch for told in together if told.drawing]
    figures = {
        "train_steps": NUM_TRAIN_STEPS, "requests": len(requests),
        "largest_from_alone": max(from_alone), "largest_from_sample": max(from_sample),
        "pictures_apart_by_a_level": sum(each > 0 for each in from_alone),
        "pictures_per_step": stats["rows"] / stats["steps"], "largest_batch": max(largest),
        "cancelled": stats["cancelled"], "caps": stats["caps"],
    }  # fmt: skip
    keep("serve-exactness", [figures])
    sheet = contact_sheet(
        [
            SheetRow("shared", [told.pixels for told in together[:20]]),
            SheetRow("sample", sampled[:20]),
        ]
    )
    sheet.save(FOLDER / "serve-exactness.png")
    assert max(from_alone) <= 1, figures
    assert max(from_sample) <= 1, figures
    assert max(largest) > 4, figures
    assert stats["cancelled"] >= 7, figures


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_half_precision_the_difference_is_measured(place: str, precision: str) -> None:
    """It is no promise: what holds is that `exact` draws alone."""
    with engine_of(place, precision=precision) as engine:
        requests = mixed(engine, 40, steps=STEPS)
        together = in_a_crowd(engine, requests)
        alone = ask_alone(engine, requests)
        exact = in_a_crowd(engine, [replace(each, exact=True) for each in requests[:8]])
    found = [
        np.abs(one.pixels.astype(int) - other.pixels.astype(int))
        for one, other in zip(together, alone, strict=True)
    ]
    figures = {
        "precision": precision, "requests": len(requests),
        "largest": max(int(each.max()) for each in found),
        "median_of_largest": int(np.median([each.max() for each in found])),
        "mean": round(float(np.mean(found)), 4),
        "pictures_apart": sum(bool(each.any()) for each in found),
    }  # fmt: skip
    keep(f"serve-{precision}", [figures])
    rows = [
        SheetRow(name, [told.pixels for told in some[:20]])
        for name, some in (("shared", together), ("alone", alone))
    ]
    contact_sheet(rows).save(FOLDER / f"serve-{precision}.png")
    assert apart(exact, [told.pixels for told in alone[:8]]) == [0] * 8, figures
