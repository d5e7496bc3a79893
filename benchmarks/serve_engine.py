"""The drawing engine of `darkroom serve` over offline drawing, and over other ways to batch.

    python -m benchmarks.serve_engine [--rounds 7] [--quick]

Saturated: as many requests as a batch of `sample` holds, all at once, over the same pictures by
`sample`'s own drawer on the same one thread. The target is for a model of at least a CPU second a
picture (`wide`); a small one (`digits`), whose step is mostly overhead, stands beside it.

Under load: requests come at random (Poisson, the same times for every arm) at 0.5, 0.9 and 2.5 of
what one by one can draw; half of them want few steps, half 2.5 times as many. Four policies take
turns over the same model (`serve_policies.py`): one by one, batches frozen by the clock as
`@serve.batch` cuts them, a work-conserving queue of equal steps, and the engine's steps. Ratios are
of latencies, from arrival to picture. Above 1 the queue of whoever cannot keep up grows for as long
as requests come: its length at the last arrival is kept in the JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from benchmarks.interleaved import Ratio, Report, after_each_round, arguments
from benchmarks.serve_policies import (
    Choose,
    FrozenBatches,
    WholeBatches,
    equal_steps,
    first_alone,
)
from diffusers import UNet2DModel
from tests.helpers.drawing_engine import ask_all, close, usual
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig, DrawingConfig
from darkroom.jobs.drawing.drawer import Request
from darkroom.jobs.serve.engine.engine import MAX_BATCH, Engine
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.request import DrawRequest
from darkroom.models.find import find_model

AT_LEAST, AT_MOST = 0.95, 0.5
LOADS = (0.5, 0.9, 2.5)
ONE, FROZEN, CONSERVING, STEPS = "one by one", "frozen", "work-conserving", "steps"
NUM_THREADS = 1


def wide_unet() -> UNet2DModel:
    """A CPU second a picture and more, with 40 steps at 32 pixels."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, block_out_channels=(64, 128),
        layers_per_block=2, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=8, num_class_embeds=11,
    )  # fmt: skip


def engine_of(place: Path, *, max_batch: int = MAX_BATCH) -> Engine:
    config = build_config(DrawingConfig, {"num_cpus": NUM_THREADS})
    engine = Engine([ModelSource(name="model", model=str(place))], config, max_batch=max_batch)
    engine.load()
    return engine


class Saturation:
    """The same pictures, offline and by requests."""

    def __init__(self, place: Path, *, num_pictures: int, num_steps: int) -> None:
        self.engine = engine_of(place)
        self._requests = [
            usual(self.engine, seed=0, index=at, label=str(at % 10), num_steps=num_steps)
            for at in range(num_pictures)
        ]
        config = build_config(ClassDrawingConfig, {"num_cpus": NUM_THREADS, "num_steps": num_steps})
        self._drawer = ClassConditionalDrawer(config, find_model(str(place), field="input"))

    def offline(self) -> None:
        self._drawer.draw(
            [Request(str(at), str(at % 10), image_seed(0, at)) for at in range(len(self._requests))]
        )

    def served(self) -> None:
        assert all(told.drawing is not None for told in ask_all(self.engine, self._requests))

    def cpu_seconds_per_picture(self) -> float:
        """Of the offline drawer, all threads."""
        start = time.process_time()
        self.offline()
        return (time.process_time() - start) / len(self._requests)


class EngineFutures:
    """An engine as the other policies look: a future for each request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def draw(self, request: DrawRequest) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._drawn(request), self._loop)

    async def _drawn(self, request: DrawRequest) -> None:
        async for _ in self._engine.draw(request):
            pass

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def seconds_alone(engine: Engine, requests: Sequence[DrawRequest]) -> float:
    """Of a request, on average, when each is drawn by itself and the next waits for it."""
    with closing(whole_batches(engine, first_alone)) as policy:
        policy.draw(requests[0]).result()
        start = time.perf_counter()
        for future in [policy.draw(request) for request in requests]:
            future.result()
        return (time.perf_counter() - start) / len(requests)


def model_of(engine: Engine) -> Any:
    """What the engine draws with, for the other policies."""
    return engine._thread.models["model"]  # noqa: SLF001 - the same for all


def whole_batches(engine: Engine, choose: Choose) -> WholeBatches:
    return WholeBatches(model_of(engine), choose, num_threads=NUM_THREADS)


class UnderLoad:
    """One load: requests that come gap_seconds apart, on average."""

    def __init__(self, engine: Engine, requests: Sequence[DrawRequest], gap_seconds: float) -> None:
        self._engine, self._requests, self._gap = engine, requests, gap_seconds
        self._seeds: dict[str, Iterator[int]] = defaultdict(itertools.count)
        self.p95s: dict[str, list[float]] = defaultdict(list)
        self.queues: dict[str, list[int]] = defaultdict(list)

    def p95_ratio(self, name: str) -> Ratio:
        """Of the engine's over another's, as `Timings.ratio` has it of means."""
        ours, theirs = (
            [statistics.fmean(turns) for turns in zip(found[::2], found[1::2], strict=True)]
            for found in (self.p95s[STEPS], self.p95s[name])
        )
        return Ratio.of([above / below for above, below in zip(ours, theirs, strict=True)])

    def arm(self, name: str) -> Callable[[], float]:
        return lambda: self._run(name)

    def _policy(self, name: str) -> Any:
        cap = max(entry["cap"] for entry in self._engine.stats()["caps"])
        match name:
            case "one by one":
                return whole_batches(self._engine, first_alone)
            case "work-conserving":
                return whole_batches(self._engine, equal_steps(cap))
            case "frozen":
                return FrozenBatches(model_of(self._engine), cap, num_threads=NUM_THREADS)
            case _:
                return EngineFutures(self._engine)

    def _run(self, name: str) -> float:
        """Mean latency in seconds. Each turn of a round has the same arrivals for all arms."""
        turns = random.Random(next(self._seeds[name]))
        requests = turns.sample(list(self._requests), len(self._requests))
        latencies: list[float] = []
        with closing(self._policy(name)) as policy:
            futures = []
            due = time.monotonic()
            for request in requests:
                due += turns.expovariate(1 / self._gap)
                time.sleep(max(0.0, due - time.monotonic()))
                arrived = time.monotonic()
                future = policy.draw(request)
                future.add_done_callback(
                    lambda _done, since=arrived: latencies.append(time.monotonic() - since)
                )
                futures.append(future)
            self.queues[name].append(sum(not future.done() for future in futures))
            for future in futures:
                future.result()
        self.p95s[name].append(statistics.quantiles(latencies, n=20)[-1])
        return statistics.fmean(latencies)


def saturated(report: Report, root: Path, *, quick: bool, rounds: int) -> None:
    models: dict[str, tuple[UNet2DModel, int, int, float | None]] = {
        "digits": (tiny_unet(), 32, 10, None),
        "wide": (wide_unet(), 4, 2, None) if quick else (wide_unet(), 16, 40, AT_LEAST),
    }
    for name, (unet, num_pictures, num_steps, at_least) in models.items():
        publish_model(root / name, unet)
        side = Saturation(root / name, num_pictures=num_pictures, num_steps=num_steps)
        try:
            arms = {"offline": side.offline, "served": side.served}
            known = report.details[f"saturated {name}"] = {
                "pictures": num_pictures,
                "cpu_seconds_per_picture": side.cpu_seconds_per_picture(),
                "caps": side.engine.stats()["caps"],
            }
            what = f"serve_engine: {name}, images/s of requests / offline"
            for timings in after_each_round(arms, num_rounds=rounds):
                known["seconds"] = timings.seconds
                report.add(what, timings.ratio("offline", "served"), at_least=at_least)
        finally:
            close(side.engine)


def under_load(report: Report, root: Path, *, quick: bool, rounds: int) -> None:
    num_requests, short, long = (10, 2, 5) if quick else (200, 8, 20)
    engine = engine_of(root / "digits")
    try:
        requests = [
            usual(engine, seed=at, num_steps=short if at % 2 else long, label=str(at % 10))
            for at in range(num_requests)
        ]
        for load in LOADS:
            unit = seconds_alone(engine, requests[:8])
            side = UnderLoad(engine, requests, unit / load)
            names = (ONE, FROZEN, CONSERVING, STEPS)
            arms = {name: side.arm(name) for name in names}
            for timings in after_each_round(arms, num_rounds=rounds, num_warmups=0):
                report.details[f"load {load}"] = {
                    "unit_seconds": unit, "mean_seconds": timings.seconds, "p95_seconds": side.p95s,
                    "waiting_at_the_last_arrival": side.queues, "requests": num_requests,
                    "caps": engine.stats()["caps"],
                }  # fmt: skip
                for name in (ONE, FROZEN, CONSERVING):
                    target = AT_MOST if (load, name) == (0.9, ONE) and not quick else None
                    what = f"serve_engine: load {load}, mean latency of steps / {name}"
                    report.add(what, timings.ratio(STEPS, name), at_most=target)
                    p95 = f"serve_engine: load {load}, p95 of steps / {name}"
                    report.add(p95, side.p95_ratio(name))
    finally:
        close(engine)


def main() -> None:
    given = arguments(__doc__).parse_args()
    report = Report("serve_engine")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        saturated(report, Path(name), quick=given.quick, rounds=given.rounds)
        under_load(report, Path(name), quick=given.quick, rounds=given.rounds)


if __name__ == "__main__":
    main()
