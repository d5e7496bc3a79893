"""Draws with a model that `darkroom train` published, with or without classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darkroom.diffusion.guidance import conditional, guided
from darkroom.diffusion.noise import ImageNoise
from darkroom.diffusion.objective import Denoiser
from darkroom.diffusion.sampler import SAMPLERS
from darkroom.diffusion.schedule import build_schedule
from darkroom.jobs.drawing.class_network import ClassNetwork, to_picture
from darkroom.jobs.drawing.class_settings import check_settings
from darkroom.jobs.drawing.config import ClassDrawingConfig
from darkroom.jobs.drawing.drawer import Drawn, Pixels, Request, not_finite, refused
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.rejects import Reject
from darkroom.models.find import FoundModel


class ClassConditionalDrawer:
    """The model on this process's device."""

    def __init__(self, config: ClassDrawingConfig, model: FoundModel, *, prefix: str = "") -> None:
        self._config = config
        self._network = ClassNetwork(config, model, prefix=prefix)
        self._info, self._labels = self._network.info, self._network.labels
        check_settings(config, self._info, prefix=prefix)
        self._schedule = build_schedule(self._info.schedule)

    def count_tokens(self, text: str) -> tuple[int, int] | None:
        return None

    def refusal(self, request: Request) -> Reject | None:
        if not self._info.class_conditional or nfc(request.text or "") in self._labels:
            return None
        known = ", ".join(self._info.classes[:12])
        problem = f"{(request.text or '')[:60]!r} is no class of the model ({known})"
        return refused(request, "unknown_class", problem)

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request]) -> list[Drawn | Reject]:
        config = self._config
        seeds = [request.seed for request in requests]
        noise = ImageNoise(seeds, self._info.shape.chw, device=self._network.device)
        frames: list[list[Pixels]] = [[] for _ in requests]

        def keep(steps_done: int, x_BCHW: Tensor) -> None:
            for row, request in enumerate(requests):
                if steps_done in request.frames_after:
                    frames[row].append(to_picture(x_BCHW[row]))

        x_T = noise.initial()
        keep(0, x_T)
        x_0 = SAMPLERS[config.sampler](
            self._denoiser(requests),
            x_T,
            self._schedule,
            num_steps=config.num_steps,
            prediction_type=self._info.prediction_type,
            noise=noise,
            clip=1.0 if config.clip else None,
            eta=config.eta,
            on_step=lambda index, _t, x, _x0: keep(index + 1, x),
        )
        return [
            Drawn(to_picture(x), kept) if bool(torch.isfinite(x).all()) else not_finite(request)
            for request, x, kept in zip(requests, x_0, frames, strict=True)
        ]

    def _denoiser(self, requests: Sequence[Request]) -> Denoiser:
        if not self._info.class_conditional:
            return conditional(self._network.predict, None)
        labels = [self._labels[nfc(request.text or "")] for request in requests]
        classes = torch.tensor(labels, device=self._network.device)
        return guided(
            self._network.predict, classes, self._info.null_class, self._config.guidance_scale
        )
