"""What draws: a diffusers text-to-image pipeline, or a class-conditional model of Darkroom's.

Both keep one contract: `draw(requests)` gives one picture per request, a function of the request
and its seed (and, in the last bit of the arithmetic, of the batch, which a piece fixes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.config import build_config
from darkroom.diffusion.config import ScheduleConfig
from darkroom.diffusion.guidance import guided
from darkroom.diffusion.noise import ImageNoise
from darkroom.diffusion.sampler import SAMPLERS
from darkroom.diffusion.schedule import build_schedule
from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.batch.stage import is_out_of_memory
from darkroom.jobs.generate.config import ClassConditionalConfig, TextToImageConfig
from darkroom.jobs.generate.device import DTYPES, prepare_device
from darkroom.jobs.pictures.layout import nfc
from darkroom.models.files import weight_names
from darkroom.models.find import FoundModel, unloadable
from darkroom.models.unet import load_unet, read_model_info
from darkroom.report.sheet import as_picture, grey_levels
from darkroom.storage import open_artifact

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Request:
    """One picture to draw."""

    text: str
    """The prompt, or the name of the class."""
    seed: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no picture."""

    reason: str
    detail: str


class Drawer(Protocol):
    """What the stage asks of either."""

    @property
    def batch_size(self) -> int:
        """Requests that it takes at once."""

    def count_tokens(self, text: str, /) -> tuple[int, int] | None:
        """Tokens of the text, and how many the encoder cuts off; None without an encoder."""

    def fault(self, request: Request, /) -> Fault | None:
        """What is wrong with a request, before it is drawn."""

    def draw(self, requests: Sequence[Request], /) -> list[Pixels | Fault]:
        """Pictures as uint8, HxW or HxWx3."""


def load_drawer(config: TextToImageConfig | ClassConditionalConfig, folder: FoundModel) -> Drawer:
    """The model on this process's device. Errors: ConfigError when it cannot be loaded."""
    if isinstance(config, ClassConditionalConfig):
        return _ClassConditional(config, folder)
    return _TextToImage(config, folder)


class _TextToImage:
    def __init__(self, config: TextToImageConfig, folder: FoundModel) -> None:
        self._config, self.batch_size = config, config.batch_size
        self._device = prepare_device(config, folder, field="draw")
        self._pipeline = self._load(folder)
        self._pipeline.set_progress_bar_config(disable=True)
        self._slice()

    def _load(self, folder: FoundModel) -> Any:
        from diffusers import AutoPipelineForText2Image
        from diffusers.utils import logging as diffusers_logging

        diffusers_logging.set_verbosity_error()
        diffusers_logging.disable_progress_bar()
        options: dict[str, Any] = {"variant": self._config.variant} if self._config.variant else {}
        with folder.local() as (name, keywords):
            try:
                pipeline = AutoPipelineForText2Image.from_pretrained(
                    name, dtype=DTYPES[self._config.precision], use_safetensors=True,
                    **keywords, **options,
                )  # fmt: skip
                _check_weights(pipeline, Path(name))
            except Exception as error:  # a file that lies raises anything
                if is_out_of_memory(error):
                    raise
                raise unloadable(
                    name, error, field="draw.model", model=self._config.model,
                    remedy="give a diffusers text-to-image folder with safetensors; a model that "
                    "`darkroom train` published needs draw.kind class_conditional",
                ) from error  # fmt: skip
        return pipeline.to(self._device)

    def _slice(self) -> None:
        if self._config.attention_slicing:
            self._pipeline.enable_attention_slicing()
        for wanted, method in (
            (self._config.vae_slicing, "enable_slicing"),
            (self._config.vae_tiling, "enable_tiling"),
        ):
            if wanted:
                getattr(self._pipeline.vae, method)()

    def count_tokens(self, text: str) -> tuple[int, int] | None:
        """By the text encoder that cuts most; start and end tokens are counted, as it does."""
        counts = []
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(self._pipeline, name, None)
            if tokenizer is not None:
                num = len(tokenizer(text, truncation=False, verbose=False).input_ids)
                counts.append((num, max(0, num - int(tokenizer.model_max_length))))
        return max(counts, key=lambda count: count[1], default=None)

    def fault(self, request: Request) -> Fault | None:
        return None

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request]) -> list[Pixels | Fault]:
        config = self._config
        options: dict[str, Any] = {"width": config.width, "height": config.height}
        if config.negative_prompt is not None:
            options["negative_prompt"] = [config.negative_prompt] * len(requests)
        result = self._pipeline(
            prompt=[request.text for request in requests],
            num_inference_steps=config.num_steps,
            guidance_scale=config.guidance_scale,
            # On the CPU whatever the device: the same noise on every machine.
            generator=[torch.Generator("cpu").manual_seed(item.seed) for item in requests],
            output_type="np",
            **{name: value for name, value in options.items() if value is not None},
        )
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(requests)
        return [
            _picture(x, flag=bool(flag)) for x, flag in zip(result.images, flagged, strict=True)
        ]


def _check_weights(pipeline: Any, folder: Path) -> None:
    """Errors: ValueError where diffusers found so few of a network's weights that they are those
    of another, or under other names: it draws with random ones then."""
    from diffusers import ModelMixin

    for name, component in pipeline.components.items():
        if isinstance(component, ModelMixin) and (names := weight_names(folder / name)):
            own = component.state_dict().keys()
            missing = sorted(own - names)
            if 2 * len(missing) > len(own):  # it knows a few names of old
                raise ValueError(
                    f"{len(missing)} weights of its {name} are not there, first {missing[0]}"
                )


def _picture(x_HWC: NDArray[np.float32], *, flag: bool) -> Pixels | Fault:
    if flag:
        return Fault("safety_checker", "the model's safety checker blanked the picture")
    if not np.isfinite(x_HWC).all():
        return Fault("not_finite", "the picture holds values that are no numbers")
    return (x_HWC.clip(0, 1) * 255).round().astype(np.uint8)


class _ClassConditional:
    def __init__(self, config: ClassConditionalConfig, folder: FoundModel) -> None:
        self._config, self.batch_size = config, config.batch_size
        self._device = prepare_device(config, folder, field="draw")
        artifact = open_artifact(str(folder.uri), kind=Kind.MODEL)
        if artifact.digest != folder.digest:
            raise DarkroomError(f"{folder.uri} was published anew while the job ran; run it again")
        self._info = read_model_info(artifact)
        self._schedule = build_schedule(build_config(ScheduleConfig, self._info.schedule))
        self._unet: Any = load_unet(artifact, self._device).to(DTYPES[config.precision])
        self._check()

    def _check(self) -> None:
        config, info = self._config, self._info
        if not info.class_conditional:
            raise ConfigError("draw.model", info.uri, "knows no classes", "use `darkroom sample`")
        if config.guidance_scale != 1 and info.null_class is None:
            raise ConfigError(
                "draw.guidance_scale", config.guidance_scale, "the model has no null class", "use 1"
            )
        if config.num_steps > self._schedule.num_timesteps:
            raise ConfigError(
                "draw.num_steps", config.num_steps,
                f"the model was trained on {self._schedule.num_timesteps} timesteps",
                "use at most as many",
            )  # fmt: skip

    def count_tokens(self, text: str) -> tuple[int, int] | None:
        return None

    def fault(self, request: Request) -> Fault | None:
        if nfc(request.text) in self._info.classes:
            return None
        known = ", ".join(self._info.classes[:12])
        return Fault("unknown_class", f"{request.text[:60]!r} is no class of the model ({known})")

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request]) -> list[Pixels | Fault]:
        config, info = self._config, self._info
        labels = torch.tensor(
            [info.classes.index(nfc(request.text)) for request in requests], device=self._device
        )
        noise = ImageNoise(
            [request.seed for request in requests], info.image_shape, device=self._device
        )

        def network(x: torch.Tensor, t: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
            prediction: torch.Tensor = self._unet(x.to(self._unet.dtype), t, **more).sample
            return prediction.float()

        x_0 = SAMPLERS[config.sampler](
            guided(network, labels, info.null_class, config.guidance_scale),
            noise.initial(),
            self._schedule,
            num_steps=config.num_steps,
            prediction_type=info.prediction_type,
            noise=noise,
            clip=1.0,
            eta=config.eta,
        )
        return [_checked(x) for x in x_0.cpu().numpy()]


def _checked(x_CHW: NDArray[np.float32]) -> Pixels | Fault:
    if not np.isfinite(x_CHW).all():
        return Fault("not_finite", "the picture holds values that are no numbers")
    return as_picture(grey_levels(x_CHW))
