"""Config of `finetune`: what is trained of a base model, and towards what.

Complete and typed; knows nothing of Ray or torch. What it shares with other training verbs
stands in `jobs/training/config.py`. What the base itself says is read from it and stands nowhere
else: its family, its noise schedule, whether it predicts epsilon, v or a velocity.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom.config import (
    Config,
    Fraction,
    ModelPlace,
    NonNegativeFloat,
    Place,
    PositiveFloat,
    operational,
)
from darkroom.jobs.finetune.loss_config import LossesConfig
from darkroom.jobs.finetune.picture_config import FinetuneValidationConfig
from darkroom.jobs.training.config import TrainingConfig


class LoraConfig(Config):
    """Low-rank adapters (Hu et al. 2021) beside frozen weights."""

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    """Columns of A and rows of B: the adapter's size. No layer of the families has a higher one."""
    alpha: PositiveFloat | None = None
    """The adapter counts alpha / rank times; null for as large as the rank."""
    targets: Literal["attention", "all"] = "attention"
    """attention: its projections. all: feed-forward layers and convolutions as well, for what the
    base has never seen."""

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class TextEncoderConfig(Config):
    """Training the CLIP text encoders along: a parameter group of their own."""

    learning_rate: PositiveFloat = 1e-5
    """Their peak learning rate, under the same schedule."""


class CaptionShuffleConfig(Config):
    """The parts of a caption in another order in every epoch, for captions that are lists."""

    separator: Annotated[str, Field(min_length=1)] = ","
    """What stands between the parts."""
    keep_first: Annotated[int, Field(ge=0)] = 0
    """So many parts stay where they are, in front: trigger words, say."""


class LatentObjectiveConfig(Config):
    """How noise is added and errors are weighted. What is predicted is the base's."""

    min_snr_gamma: PositiveFloat | None = None
    """Min-SNR-gamma loss weights (Hang et al. 2023), 5.0 as in the paper; null for none. Not for
    flow matching."""
    offset_noise: NonNegativeFloat = 0.0
    """So much noise that is equal over all of a channel, for very dark and bright pictures (0.05
    to 0.1 is usual)."""
    input_perturbation: NonNegativeFloat = 0.0
    """So much more noise in the input than the network is asked for (Ning et al. 2023, 0.1)."""
    caption_dropout: Fraction = 0.1
    """Share of captions left out, for classifier-free guidance."""
    timestep_density: Literal["uniform", "logit_normal"] | None = None
    """Which noise levels are trained most; null for uniform, or logit_normal (Esser et al. 2024)
    under flow matching."""
    flow_shift: PositiveFloat | None = None
    """Flow matching: shift of noise levels towards noise; null as the base's scheduler says, by
    the number of tokens where it says so."""
    guidance: PositiveFloat = 1.0
    """What networks that take the guidance as an input (FLUX.1-dev) are told while they train."""


class FinetuneConfig(TrainingConfig):
    """One run of fine-tuning."""

    base: Annotated[ModelPlace, operational()]
    """A diffusers folder (path or s3:// URI) or a hub id; its digest, not this name, identifies
    it."""
    cache: Annotated[Place | None, operational()] = None
    """What `darkroom cache` made of these data with this base: latents and embeddings in place of
    pictures and captions; its digest, not this name, identifies it. Null encodes in every epoch."""
    method: Literal["lora", "full"] = "lora"
    """lora trains adapters and publishes them alone; full trains and publishes all of the
    network."""
    lora: LoraConfig = LoraConfig()
    text_encoder: TextEncoderConfig | None = None
    """Train the text encoders too, by the same method; null leaves them as they are."""
    objective: LatentObjectiveConfig = LatentObjectiveConfig()
    caption_shuffle: CaptionShuffleConfig | None = None
    """Shuffle the parts of captions; null leaves captions as they are."""
    validation: FinetuneValidationConfig = FinetuneValidationConfig()
    losses: LossesConfig = LossesConfig()
    base_precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of what is frozen; two bytes halve the base's memory. Adapters stay float32."""
    gradient_checkpointing: Annotated[bool, operational()] = False
    """Forget activations and compute them again: less memory, more time, equal gradients."""
    trigger_words: tuple[str, ...] = ()
    """Words of the captions that call what was learnt; they stand on the model card."""

    @model_validator(mode="after")
    def _precisions_fit(self) -> Self:
        if self.base_precision == "float32":
            return self
        if self.method == "full":
            raise ValueError(
                f"base_precision {self.base_precision} is for what is frozen, and method full "
                "trains it; use float32, or method lora"
            )
        if self.compute.precision != self.base_precision:
            raise ValueError(
                f"base_precision {self.base_precision} needs compute.precision "
                f"{self.base_precision}; set both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _one_step_size(self) -> Self:
        rate = self.optimizer.learning_rate
        if (
            self.optimizer.name == "prodigy"
            and self.text_encoder is not None
            and self.text_encoder.learning_rate != rate
        ):
            raise ValueError(
                "optimizer prodigy has one step size for all groups; set "
                f"text_encoder.learning_rate to optimizer.learning_rate, {rate:g}"
            )
        return self

    @model_validator(mode="after")
    def _exact_ingest(self) -> Self:
        if self.data.ingest != "exact":
            raise ValueError("finetune reads with data.ingest exact only; leave it out")
        return self
