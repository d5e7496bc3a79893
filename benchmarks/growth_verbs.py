"""Growth of the batch verbs over rows: the real jobs on S3, with stand-ins for models.

Pictures have 8 x 8 pixels and models sleep, so what is left is what Darkroom does for a row. What
a job on few rows takes is measured first and taken off as start-up.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
from benchmarks.growth_meter import BUCKET, CountingServer, counting_server, metered
from PIL import Image

from darkroom.config import build_config
from darkroom.jobs.batch.picture_rows import PictureOrigin
from darkroom.jobs.batch.stage import Stage
from darkroom.jobs.classify import job as classify_job
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.model import OUTPUT_SCHEMA
from darkroom.jobs.classify.stages import KEPT, Read
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.drawing.encode import encode_stage
from darkroom.jobs.drawing.stage import DrawStage
from darkroom.jobs.evaluate import job as evaluate_job
from darkroom.jobs.evaluate.config import EvaluateConfig
from darkroom.jobs.generate import job as generate_job
from darkroom.jobs.generate.config import GenerateConfig
from darkroom.jobs.generate.draw import requests_of
from darkroom.jobs.prepare import job as prepare_job
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.rejects import Reject, Rejects
from darkroom.jobs.session import ray_session
from darkroom.storage import open_store
from darkroom.storage.store import for_each

SIDE = 8
FEW = 64
CLASS = "fox"
PIECE_ROWS = 64
SLEEP_SECONDS = 0.001
"""What a stand-in of a model sleeps for a piece or a batch."""
_ROOT = f"s3://{BUCKET}"


def prepare(num_rows: int) -> None:
    """Tiny PNGs to a dataset."""

    def run(count: int, output: str) -> None:
        source = {"kind": "image_folder", "uri": _folder(count)}
        values = {"source": source, "output": output}
        found = prepare_job.run(
            build_config(PrepareConfig, {**values, "piece_rows": PIECE_ROWS})
        )  # fmt: skip
        assert found["num_rejected"] == 0

    _measure("prepare", num_rows, run)


def classify(num_rows: int) -> None:
    """Tiny PNGs read, not decoded, by a model that sleeps."""

    def run(count: int, output: str) -> None:
        values = {
            "input": f"{_folder(count)}/{CLASS}", "output": output, "piece_rows": PIECE_ROWS,
            "model": {"library": "timm", "name": "mobilenetv3_small_050", "weights": "random"},
        }  # fmt: skip
        with (
            mock.patch.object(classify_job, "reading_and_decoding", _reading),
            mock.patch.object(classify_job, "modelling", _sleeping),
        ):
            classify_job.run(build_config(ClassifyConfig, values))

    _measure("classify", num_rows, run)


def _reading(config: ClassifyConfig, origin: PictureOrigin, _preprocess: object) -> list[Stage]:
    return [Stage.of(config.readers, name="read", make=partial(Read, config.to_dict(), origin))]


def _sleeping(config: ClassifyConfig, _classifier: object, _weights: object) -> Stage:
    return Stage.of(config.models, name="model", make=SleepingClassifier, actor=True)


class SleepingClassifier:
    """The same label for every row."""

    def __call__(self, rows: pa.Table, _rejects: Rejects) -> pa.Table:
        time.sleep(SLEEP_SECONDS)
        same: dict[str, Any] = {
            "label": "fox", "confidence": 1.0, "top_labels": ["fox"], "top_probabilities": [1.0],
            "entropy": 0.0, "model": "none", "model_digest": "none",
        }  # fmt: skip
        columns = {name: rows[name] for name in KEPT} | {
            name: pa.array([value] * len(rows), OUTPUT_SCHEMA.field(name).type)
            for name, value in same.items()
        }
        return pa.table({name: columns[name] for name in OUTPUT_SCHEMA.names})


def evaluate(num_rows: int) -> None:
    """Distances of pixels between tiny PNGs and a small reference of them."""

    def run(count: int, output: str) -> None:
        values = {
            "input": f"{_folder(count)}/{CLASS}", "output": output,
            "reference": f"{_folder(FEW)}/{CLASS}",
            "metrics": ["frechet_pixels", "kernel_pixels"], "piece_rows": PIECE_ROWS,
        }  # fmt: skip
        evaluate_job.run(build_config(EvaluateConfig, values))

    _measure("evaluate", num_rows, run)


def generate(num_rows: int) -> None:
    """A table of prompts, drawn by a model that sleeps and gives noise of 8 x 8 pixels."""

    def run(count: int, output: str) -> None:
        values = {
            "input": f"{_ROOT}/{_prompts(count)}", "output": output, "prompt": "{animal}",
            "piece_rows": PIECE_ROWS, "enhance": None,
            "draw": {"model": "none", "batch_size": PIECE_ROWS},
        }  # fmt: skip
        with (
            mock.patch.object(generate_job, "_models", return_value=(None, None)),
            mock.patch.object(generate_job, "_stages", _drawing),
        ):
            generate_job.run(build_config(GenerateConfig, values))

    _measure("generate", num_rows, run)


def _drawing(config: GenerateConfig, *_models: object) -> list[Stage]:
    constants = {"model": "none", "model_digest": "none", "num_steps": 1, "guidance_scale": 0.0}
    make = partial(_drawer, config.to_dict())
    return [
        Stage(name="draw", make=make, num_workers=1, actor=True, num_cpus=0.5),
        encode_stage(constants, model_digest="none"),
    ]


def _drawer(values: dict[str, Any]) -> DrawStage:
    requests = partial(requests_of, build_config(GenerateConfig, values))
    return DrawStage(SleepingPainter, requests, batch_size=PIECE_ROWS)


@dataclass(frozen=True)
class SleepingPainter:
    """Noise that the seed decides."""

    def count_tokens(self, _text: str) -> None:
        return None

    def refusal(self, _request: Request) -> Reject | None:
        return None

    def draw(self, requests: Sequence[Request]) -> list[Drawn | Reject]:
        time.sleep(SLEEP_SECONDS)
        return [Drawn(_noise(request.seed)) for request in requests]


def _noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def _folder(count: int) -> str:
    return f"{_ROOT}/pictures-{count}"


def _prompts(count: int) -> str:
    return f"prompts-{count}.csv"


def _measure(name: str, num_rows: int, run: Callable[[int, str], None]) -> None:
    with _prepared(num_rows) as server, ray_session():
        run(FEW, f"{_ROOT}/warm-up")
        started = time.perf_counter()
        run(FEW, f"{_ROOT}/start-up")
        start_up = time.perf_counter() - started
        with metered(name, num_rows, server=server) as row:
            started = time.perf_counter()
            run(num_rows, f"{_ROOT}/output")
            row["whole_seconds"] = time.perf_counter() - started
            row["seconds"] = max(row["whole_seconds"] - start_up, 1e-3)
            row["start_up_seconds"] = start_up


@contextmanager
def _prepared(num_rows: int) -> Iterator[CountingServer]:
    """A server with pictures and prompts, few of them and many."""
    with counting_server() as server:
        for count in {FEW, num_rows}:
            store = open_store(_folder(count))
            for_each(partial(_put_picture, store), range(count))
            lines = ["id,animal", *(f"r{number:07d},fox {number}" for number in range(count))]
            open_store(_ROOT).put(_prompts(count), "\n".join(lines).encode())
        yield server


def _put_picture(store: Any, number: int) -> None:
    data = io.BytesIO()
    Image.fromarray(_noise(number)).save(data, "PNG")
    store.put(f"{CLASS}/{number:07d}.png", data.getvalue())
