"""What a cache of latents and embeddings takes off a step of `darkroom finetune`.

    python -m benchmarks.finetune_cache [--rounds 7] [--quick]

A tiny Stable Diffusion learns photographs by LoRA, in this process: finetune's own plan, stream,
module, gradients, AdamW and average, with plain torch where Lightning would call them, and without
Ray, which both sides would have alike. Four arms, interleaved:

1. on the fly: a step that decodes pictures, encodes them and their captions;
2. cached: the same step, of the same rows, from what `darkroom cache` made;
3. encoding: the VAE and the text encoder alone, on a step's rows;
4. step: everything behind them alone, on a batch that lies in memory.

What a cache can give is (encoding + step) / step. Target: (on the fly / cached) is at least 0.95 of
that. How large it is depends on the base: on a real one the VAE's share is another. The same in
processor time, all threads of this process, has no target: it means something on a busy machine.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.interleaved import Ratio, Report, Timings, arguments, measure
from tests.helpers.captioned_data import publish_captioned
from tests.helpers.encoded_runs import EncodedRun, cached
from tests.helpers.tiny_families import save_tiny

from darkroom.diffusion.pixels import to_unit_range
from darkroom.jobs.finetune.module import FinetuneModule
from darkroom.jobs.training.stream import BatchStream
from darkroom.jobs.training.training_stream import Batch
from darkroom.models.families.latents import encode_picture

AT_LEAST = 0.95
PIXELS, BATCH_SIZE = 32, 8
NUM_STEPS, QUICK_STEPS = 20, 4
ON_THE_FLY, CACHED, ENCODING, STEP = "on the fly", "cached", "encoding", "step"
ENDLESS = 10**9


def without_lightning(module: FinetuneModule) -> None:
    """Put plain torch where the module asks Lightning."""
    built: Any = module.configure_optimizers()
    adamw, rate = built["optimizer"], built["lr_scheduler"]["scheduler"]
    adamw.optimizer = adamw  # as Lightning wraps it
    vars(module).update(
        optimizers=lambda: adamw,
        lr_schedulers=lambda: rate,
        manual_backward=torch.autograd.backward,
    )


class Side:
    """One run's stream and module."""

    def __init__(self, run: EncodedRun) -> None:
        self.module = run.module()
        without_lightning(self.module)
        source = run.source()
        plan, _ = run.training()
        rows = source.reader(plan, seed=run.config.seed, cache_bytes=2**30)
        self.batches: Iterator[Batch] = iter(BatchStream(rows, plan, num_steps=ENDLESS))
        self.batch = next(self.batches)

    def streamed(self) -> None:
        """A step on the next batch."""
        self._step(next(self.batches))

    def alone(self) -> None:
        """A step on a batch that is there."""
        self._step(self.batch)

    @torch.no_grad()
    def encode(self) -> None:
        """What a step encodes."""
        encode_picture(self.module.base.vae, to_unit_range(self.batch["image"]))
        self.module.base.encode_text([str(caption) for caption in self.batch["caption"]])

    def _step(self, batch: Batch) -> None:
        self.module.training_step(batch, 0)
        self.module.update_ema()


class Arm:
    """Mean seconds of a step, and of processor time beside them."""

    def __init__(self, step: Callable[[], None], count: int) -> None:
        self._step, self._count = step, count
        self.processor_seconds: list[float] = []
        """Of a step in each turn, the warm-up's first."""

    def __call__(self) -> float:
        started, used = time.perf_counter(), time.process_time()
        for _ in itertools.repeat(None, self._count):
            self._step()
        self.processor_seconds.append((time.process_time() - used) / self._count)
        return (time.perf_counter() - started) / self._count

    def rounds(self) -> list[float]:
        """Processor seconds of a step in each round, the mean of its two turns."""
        turns = self.processor_seconds[1:]
        return [statistics.fmean(both) for both in zip(turns[::2], turns[1::2], strict=True)]


def bounds(timings: Timings) -> list[float]:
    """What a cache could give, round by round."""
    pairs = zip(timings.seconds[ENCODING], timings.seconds[STEP], strict=True)
    return [(encoding + step) / step for encoding, step in pairs]


def compare(report: Report, what: str, timings: Timings, *, at_least: float | None = None) -> None:
    """Add the ratio, its bound, and the share of it that is reached."""
    limits = bounds(timings)
    report.add(f"finetune: on the fly / cached{what}", timings.ratio(ON_THE_FLY, CACHED))
    report.add(f"finetune: what the parts allow{what}", Ratio.of(limits))
    pairs = zip(timings.seconds[ON_THE_FLY], timings.seconds[CACHED], limits, strict=True)
    shares = [above / below / limit for above, below, limit in pairs]
    report.add(f"finetune: of that, reached{what}", Ratio.of(shares), at_least=at_least)


def sides(root: Path) -> tuple[Side, Side]:
    """The same run on the fly and from a cache."""
    base = save_tiny("sd", root / "base")
    data = str(publish_captioned(root / "data", side=PIXELS, num_each=32).uri)
    cached(base, data, root / "cache", piece_rows=64)
    changes: dict[str, Any] = {"batch_size": BATCH_SIZE, "max_steps": 10_000}
    return (
        Side(EncodedRun.of(base, data, **changes)),
        Side(EncodedRun.of(base, data, cache=str(root / "cache"), **changes)),
    )


def main() -> None:
    given = arguments(__doc__).parse_args()
    steps = QUICK_STEPS if given.quick else NUM_STEPS
    torch.set_num_threads(1)
    report = Report(
        "finetune_cache", details={"steps": steps, "pixels": PIXELS, "batch": BATCH_SIZE}
    )
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        plain, lean = sides(Path(name))
        work = {
            ON_THE_FLY: plain.streamed, CACHED: lean.streamed, ENCODING: plain.encode,
            STEP: lean.alone,
        }  # fmt: skip
        arms = {arm: Arm(step, steps) for arm, step in work.items()}
        timings = measure(arms, num_rounds=given.rounds)
        for side in (plain, lean):
            side.batches.close()  # type: ignore[attr-defined] # a generator
    processor = Timings({name: arm.rounds() for name, arm in arms.items()})
    compare(report, "", timings, at_least=AT_LEAST)
    compare(report, ", processor time", processor)
    report.details["seconds"] = timings.seconds
    report.details["processor_seconds"] = processor.seconds
    report.write()


if __name__ == "__main__":
    main()
