"""A service and a plain Serve application over the same model, for `serve_overhead`.

    python -m benchmarks.serve_overhead_child MODEL STEPS

Prints the address of `darkroom serve` and serves until stdin ends; the plain application is below
`/plain` of it: an ingress that reads JSON, a handle, a replica that draws the picture by `sample`'s
drawer and encodes it as PNG, base64 in JSON. No keys, no admission, no digest, no metadata.
"""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import torch
from PIL import Image
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request as HttpRequest

from darkroom.config import build_config
from darkroom.diffusion import image_seed
from darkroom.jobs.drawing.class_conditional import ClassConditionalDrawer
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Request
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.job import serving
from darkroom.models.find import find_model

PLAIN = "/plain"


class PlainDrawing:
    def __init__(self, place: str, num_steps: int) -> None:
        torch.set_num_threads(1)
        values = {"num_cpus": 1, "num_steps": num_steps}
        config = build_config(ClassDrawingConfig, values)
        self._drawer = ClassConditionalDrawer(config, find_model(place, field="input"))

    def draw(self, label: str, seed: int) -> bytes:
        (told,) = self._drawer.draw([Request("0", label, image_seed(seed, 0))])
        assert isinstance(told, Drawn)
        buffer = io.BytesIO()
        Image.fromarray(told.pixels.squeeze()).save(buffer, format="PNG")
        return buffer.getvalue()


class PlainHttp:
    def __init__(self, drawing: DeploymentHandle[Any]) -> None:
        self._drawing = drawing

    async def __call__(self, request: HttpRequest) -> dict[str, Any]:
        """Of the fields of Darkroom's requests, those that it needs."""
        body = await request.json()
        picture = await self._drawing.draw.remote(body["prompt"], body["seed"])
        return {"data": [{"b64_json": base64.b64encode(picture).decode()}]}


def plain_application(place: str, num_steps: int) -> Any:
    deployment: Any = serve.deployment
    drawing = deployment(PlainDrawing, ray_actor_options={"num_cpus": 1})
    http = deployment(PlainHttp, ray_actor_options={"num_cpus": 0})
    return http.bind(drawing.bind(place, num_steps))


def main() -> None:
    place, steps = sys.argv[1], int(sys.argv[2])
    config = build_config(ServeConfig, {"models": [place], "port": 0})
    with serving(config) as service:
        serve.run(plain_application(place, steps), name="plain", route_prefix=PLAIN)
        print(service.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
