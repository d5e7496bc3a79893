"""Drawing for requests as a service by hand does it: a diffusers pipeline, PNGs as base64."""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline

PATH = "/v1/images/generations"
"""The address and the fields are those of Darkroom's requests, so that one client asks all."""


class Pipeline:
    """One pipeline on this process's threads; not for two callers at once."""

    def __init__(self, model: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._pipeline: Any = DiffusionPipeline.from_pretrained(model)
        self._pipeline.set_progress_bar_config(disable=True)

    def draw(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """A batch; what its first request says of steps, guidance and size holds for all."""
        first = requests[0]
        width, height = map(int, first["size"].split("x"))
        pictures: list[Any] = self._pipeline(
            [each["prompt"] for each in requests], num_inference_steps=first["steps"],
            guidance_scale=first["guidance_scale"], width=width, height=height,
            generator=[torch.Generator().manual_seed(each["seed"]) for each in requests],
        ).images  # fmt: skip
        return pictures


def answer_of(picture: Any) -> dict[str, Any]:
    """The answer's JSON."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return {"data": [{"b64_json": base64.b64encode(data.getvalue()).decode()}]}


class Settings(argparse.Namespace):
    """What each of these programs is told."""

    model: str
    port: int
    num_threads: int
    batch_size: int

    @classmethod
    def of_command_line(cls) -> Self:
        parser = argparse.ArgumentParser()
        parser.add_argument("model")
        for name in ("port", "num_threads", "batch_size"):
            parser.add_argument(name, type=int)
        return parser.parse_args(namespace=cls())
