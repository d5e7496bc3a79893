"""A latent diffusion model of one of the families, step by step.

Any mix of prompts, samplers, steps and seeds; alike are shape, LoRA and whether they are guided.

The same picture as diffusers' own pipeline draws for the prompt and seed: the same noise, texts,
scheduler and decoding, each picture with a scheduler of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom.diffusion.guidance import extrapolated
from darkroom.diffusion.seeds import image_seed
from darkroom.errors import ServingError
from darkroom.jobs.drawing.drawer import NOT_FINITE, Pixels, unit_levels
from darkroom.jobs.serve.engine.joined import Finished
from darkroom.jobs.serve.engine.loras import Loras
from darkroom.jobs.serve.engine.schedulers import PictureScheduler
from darkroom.jobs.serve.request import DrawRequest, ServedModel
from darkroom.models.families.base import BaseModel
from darkroom.models.families.family import Conditioning, Frame, TextEmbedding
from darkroom.models.families.latents import decode_latents


@dataclass(eq=False)
class LatentPicture:
    """One picture on its way."""

    request: DrawRequest
    x: Tensor
    """Latents, (1, C, h, w)."""
    guess: Tensor
    """The finished latents, as far as one can tell."""
    scheduler: PictureScheduler
    text: TextEmbedding
    """One row."""
    negative: TextEmbedding | None
    """None without guidance."""
    num_tokens_cut: int

    @property
    def num_done(self) -> int:
        return self.scheduler.num_done

    @property
    def done(self) -> bool:
        return self.scheduler.done


class FamilyModel:
    """Fulfils StepModel. base: on its device."""

    def __init__(self, served: ServedModel, base: BaseModel, loras: Loras) -> None:
        self.served, self._base, self._loras = served, base, loras
        vae = base.vae
        if vae.dtype == torch.float16 and vae.config.get("force_upcast"):
            vae.to(torch.float32)  # SDXL's overflows, and its pipeline decodes so too

    def guided(self, request: DrawRequest) -> bool:
        return self._base.family.name != "flux" and request.guidance > 1

    def begin(self, request: DrawRequest) -> LatentPicture:
        base, prompt = self._base, request.prompt or ""
        self._loras.use(request.lora)
        text = base.encode_text([prompt])
        generator = torch.Generator("cpu").manual_seed(image_seed(request.seed, request.index))
        size = (
            request.height // base.pipeline.vae_scale_factor,
            request.width // base.pipeline.vae_scale_factor,
        )
        scheduler = PictureScheduler(
            request.sampler, base.pipeline, base.family, num_steps=request.num_steps,
            latent_size=size, generator=generator,
        )  # fmt: skip
        # On the CPU whatever the device: the same noise on every machine.
        noise = torch.randn(
            (1, _num_channels(base), *size), generator=generator, dtype=text.sequence.dtype
        )
        x = scheduler.scaled_noise(noise.to(text.sequence.device))
        picture = LatentPicture(
            request, x, x, scheduler, text, self._negative(request, text), base.truncated(prompt)
        )
        self._loras.hold(request.lora, picture)
        return picture

    def _negative(self, request: DrawRequest, text: TextEmbedding) -> TextEmbedding | None:
        if not self.guided(request):
            return None
        if request.negative_prompt is None and self._base.drops_text_to_zeros:
            pooled = None if text.pooled is None else torch.zeros_like(text.pooled)
            return TextEmbedding(torch.zeros_like(text.sequence), pooled)
        return self._base.encode_text([request.negative_prompt or ""])

    def step(self, pictures: Sequence[LatentPicture]) -> None:
        self._loras.use(pictures[0].request.lora)
        x = torch.cat([picture.scheduler.network_input(picture.x) for picture in pictures])
        t = torch.stack([picture.scheduler.t for picture in pictures]).to(x.device)
        texts = [picture.text for picture in pictures]
        negatives = [each.negative for each in pictures if each.negative is not None]
        guided = bool(negatives)
        if guided:
            x, t, texts = torch.cat([x, x]), torch.cat([t, t]), [*negatives, *texts]
        outputs = self._outputs(pictures, x, t, texts)
        for at, picture in enumerate(pictures):
            prediction = outputs[at : at + 1]
            if guided:
                conditioned = outputs[len(pictures) + at :][:1]
                prediction = extrapolated(prediction, conditioned, picture.request.guidance)
            moved, guess = picture.scheduler.advance(prediction, picture.x)
            picture.x, picture.guess = moved.to(picture.x.dtype), guess

    def _outputs(
        self, pictures: Sequence[LatentPicture], x: Tensor, t: Tensor, texts: list[TextEmbedding]
    ) -> Tensor:
        request = pictures[0].request
        given = Conditioning(
            _joined(texts),
            Frame.whole(request.height, request.width),
            torch.tensor([picture.request.guidance for picture in pictures], device=x.device),
        )
        return self._base.family.forward(self._base.network, x, t, given)

    def look(self, picture: LatentPicture) -> Pixels | None:
        decoded = torch.nan_to_num(self._decoded(picture.guess.to(picture.x.dtype)))
        decoded, hit = self._checked(decoded)
        return None if hit else _levels(decoded)

    def finish(self, picture: LatentPicture) -> Finished:
        pipeline, image = self._base.pipeline, self._decoded(picture.x)
        if not bool(torch.isfinite(image).all()):
            raise ServingError(NOT_FINITE)
        image, hit = self._checked(image)
        if getattr(pipeline, "watermark", None) is not None:
            image = pipeline.watermark.apply_watermark(image)
        pixels = _levels(image * 0 - 1 if hit else image)
        return Finished(pixels, hit, picture.num_tokens_cut)

    def _checked(self, image: Tensor) -> tuple[Tensor, bool]:
        """By the model's own safety checker, where it has one."""
        pipeline = self._base.pipeline
        if getattr(pipeline, "safety_checker", None) is None:
            return image, False
        image, flagged = pipeline.run_safety_checker(image, image.device, image.dtype)
        return image, bool(flagged and flagged[0])

    def _decoded(self, x: Tensor) -> Tensor:
        return decode_latents(self._base.vae, x)


def _num_channels(base: BaseModel) -> int:
    channels = int(base.network.config.in_channels)
    return channels // base.family.patch**2 if base.family.name == "flux" else channels


def _joined(texts: Sequence[TextEmbedding]) -> TextEmbedding:
    pooled = [text.pooled for text in texts if text.pooled is not None]
    return TextEmbedding(
        torch.cat([text.sequence for text in texts]), torch.cat(pooled) if pooled else None
    )


def _levels(image_BCHW: Tensor) -> Pixels:
    """One picture of about [-1, 1], as diffusers and `generate` round it."""
    unit = (image_BCHW[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()
    return unit_levels(unit)
