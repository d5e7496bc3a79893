"""A model of `darkroom train`, step by step: any mix of classes, samplers, steps and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor

from darkroom.diffusion.config import SamplerName
from darkroom.diffusion.guidance import extrapolated
from darkroom.diffusion.noise import ImageNoise
from darkroom.diffusion.schedule import build_schedule
from darkroom.diffusion.seeds import image_seed
from darkroom.diffusion.steps import Trajectory
from darkroom.errors import ServingError
from darkroom.jobs.drawing.class_network import ClassNetwork, to_picture
from darkroom.jobs.drawing.config import ClassDrawingConfig, DrawingConfig
from darkroom.jobs.drawing.drawer import NOT_FINITE, Pixels
from darkroom.jobs.pictures.layout import nfc
from darkroom.jobs.serve.engine.joined import Finished
from darkroom.jobs.serve.engine.source import ModelSource
from darkroom.jobs.serve.request import Defaults, DrawRequest, ServedModel
from darkroom.models.find import FoundModel


@dataclass
class ClassPicture:
    """One picture on its way."""

    trajectory: Trajectory
    label: int | None
    """None for a network without labels."""
    scale: float
    """Of guidance; used where `guided`."""
    guided: bool
    x0: Tensor | None = field(default=None, repr=False)
    """The last guess, (1, C, H, W)."""

    @property
    def num_done(self) -> int:
        return self.trajectory.num_done

    @property
    def done(self) -> bool:
        return self.trajectory.done


class ServedClassModel:
    """Fulfils StepModel. Errors: as ClassNetwork's."""

    def __init__(self, source: ModelSource, config: DrawingConfig, model: FoundModel) -> None:
        self._network = network = ClassNetwork(config, model)
        self._info = info = network.info
        self._schedule = build_schedule(info.schedule)
        height, width = info.image_size
        usual = ClassDrawingConfig()
        own = Defaults(
            num_steps=min(usual.num_steps, self._schedule.num_timesteps),
            guidance=usual.guidance_scale,
            sampler=usual.sampler,
        )
        self.served = ServedModel(
            name=source.name,
            digest=model.digest,
            kind="class",
            classes=tuple(info.classes) if info.class_conditional else (),
            width=width,
            height=height,
            side_multiple=1,
            min_side=min(width, height),
            max_side=max(width, height),
            max_steps=self._schedule.num_timesteps,
            samplers=get_args(SamplerName),
            guidable=info.null_class is not None,
            defaults=source.defaults or own,
            steps_joined=True,
            origin=model.as_parent("model"),
        )

    def begin(self, request: DrawRequest) -> ClassPicture:
        device, info = self._network.device, self._info
        seed = image_seed(request.seed, request.index)
        noise = ImageNoise([seed], info.shape.chw, device=device)
        sampler: SamplerName = request.sampler  # type: ignore[assignment] # checked with the model
        trajectory = Trajectory(
            sampler, noise.initial(), self._schedule, num_steps=request.num_steps,
            prediction_type=info.prediction_type, noise=noise,
        )  # fmt: skip
        return ClassPicture(
            trajectory, self._label(request), request.guidance, self.guided(request)
        )

    def guided(self, request: DrawRequest) -> bool:
        return self._info.class_conditional and request.guidance not in (0, 1)

    def _label(self, request: DrawRequest) -> int | None:
        if not self._info.class_conditional:
            return None
        if request.guidance == 0:  # the unconditional model
            return self._info.null_class
        return self._network.labels[nfc(request.label or "")]

    def step(self, pictures: Sequence[ClassPicture]) -> None:
        device = self._network.device
        x = torch.cat([picture.trajectory.x for picture in pictures])
        t = torch.cat([picture.trajectory.t for picture in pictures]).to(device)
        outputs = self._outputs(pictures, x, t)
        for at, picture in enumerate(pictures):
            picture.x0 = picture.trajectory.advance(outputs[at : at + 1])

    def _outputs(self, pictures: Sequence[ClassPicture], x: Tensor, t: Tensor) -> Tensor:
        labels = [picture.label for picture in pictures]
        known = [label for label in labels if label is not None]
        if len(known) < len(labels):
            return self._network.predict(x, t)
        classes = torch.tensor(known, device=x.device)
        if not pictures[0].guided:
            return self._network.predict(x, t, class_labels=classes)
        nulls = torch.full_like(classes, self._info.null_class or 0)
        both = self._network.predict(
            torch.cat([x, x]), torch.cat([t, t]), class_labels=torch.cat([nulls, classes])
        )
        null, conditioned = both.chunk(2)
        scales = torch.tensor([picture.scale for picture in pictures], device=x.device)
        return extrapolated(null, conditioned, scales.view(-1, 1, 1, 1))

    def look(self, picture: ClassPicture) -> Pixels:
        x = picture.trajectory.x if picture.x0 is None else picture.x0
        return to_picture(x[0])

    def finish(self, picture: ClassPicture) -> Finished:
        x = picture.trajectory.x[0]
        if not bool(torch.isfinite(x).all()):
            raise ServingError(NOT_FINITE)
        return Finished(to_picture(x))
