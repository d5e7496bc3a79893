"""Proof: the drawing engine with the digits recipe's network, trained here.

Forty requests of mixed steps, samplers, seeds, classes and guidance at once, with others that leave
midway: each picture within one grey level of the lone run and of `sample`'s drawer.
`build/proofs/serve-exactness.json` has the largest differences. SERVE_PROOF_STEPS sets how long
the network is trained (300 steps by default; what it draws is recognisable).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.helpers.digits_model import NUM_TRAIN_STEPS, train
from tests.helpers.drawing_engine import ask, ask_alone, close, leave, levels_apart, mixed
from tests.helpers.proof import keep

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
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


def test_forty_requests_at_once_are_what_each_is_alone(tmp_path: Path) -> None:
    place = train(tmp_path)
    engine = Engine([ModelSource(name="digits", model=place)])
    engine.load()
    try:
        requests = mixed(engine, 40, steps=STEPS)

        async def crowd() -> list[Any]:
            # From lines with guidance and without, while others join and end.
            leaving = [
                leave(engine, replace(each, num_steps=60), delay=0.1 * at)
                for at, each in enumerate(mixed(engine, 16)[::2])
            ]
            staying = [ask(engine, each, delay=0.02 * at) for at, each in enumerate(requests)]
            return (await asyncio.gather(*staying, *leaving))[: len(requests)]

        together = asyncio.run(crowd())
        stats = engine.stats()
        alone = ask_alone(engine, requests)
    finally:
        close(engine)
    sampled = as_sample_draws(place, requests)
    from_alone, from_sample = (
        [levels_apart(one.pixels, other) for one, other in zip(together, others, strict=True)]
        for others in ([told.pixels for told in alone], sampled)
    )
    largest = [told.drawing.largest_batch for told in together if told.drawing]
    figures = {
        "train_steps": NUM_TRAIN_STEPS, "requests": len(requests),
        "largest_from_alone": max(from_alone), "largest_from_sample": max(from_sample),
        "pictures_apart_by_a_level": sum(apart > 0 for apart in from_alone),
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
    sheet.save(Path(__file__).parents[2] / "build" / "proofs" / "serve-exactness.png")
    assert max(from_alone) <= 1, figures
    assert max(from_sample) <= 1, figures
    assert max(largest) > 4, figures
    assert stats["cancelled"] >= 7, figures
