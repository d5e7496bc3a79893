"""Config of the loss: named terms, each with a weight; what is null is no part of it.

Knows nothing of torch. What each term computes stands in `losses.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom.config import (
    Config,
    Fraction,
    ModelPlace,
    Place,
    PositiveFloat,
    PositiveInt,
    operational,
)


class MseConfig(Config):
    """Mean squared error of the prediction (Ho et al. 2020)."""

    weight: PositiveFloat = 1.0
    """How often it counts."""


class HuberConfig(Config):
    """Pseudo-Huber error of the prediction: squared where small, linear where large."""

    weight: PositiveFloat = 1.0
    """How often it counts."""
    delta: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Where it turns linear, huber_c of diffusers' training scripts."""
    schedule: Literal["snr", "exponential", "constant"] = "snr"
    """How delta falls from 1, where there is no noise, to `delta` at the most (Khrapov et al.
    2024); constant: always `delta`."""


class PerceptualConfig(Config):
    """Distance of a network's features, of the decoded estimate of x0 and of the decoded x0."""

    network: Annotated[ModelPlace, operational()]
    """A transformers folder (path or s3:// URI) or a hub id of an image network, such as ResNet or
    DINOv2; its digest, not this name, identifies it."""
    weight: PositiveFloat = 0.1
    """How often it counts."""


class AdversarialConfig(Config):
    """A discriminator of latents, which learns to tell estimates of x0 from x0 (hinge loss)."""

    weight: PositiveFloat = 0.05
    """How often its verdict counts."""
    learning_rate: PositiveFloat = 1e-4
    """Of the discriminator's own AdamW, constant."""
    betas: tuple[Fraction, Fraction] = (0.5, 0.99)
    """Of the discriminator's AdamW."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    """Channels of its first layer."""
    num_layers: PositiveInt = 3
    """Layers that halve height and width, each with twice the channels."""


class PriorPreservationConfig(Config):
    """Pictures of the class beside those of the subject, so that it is not forgotten (DreamBooth,
    Ruiz et al. 2022): with each row of a step comes one of these."""

    input: Annotated[Place, operational()]
    """URI of the class's pictures with their captions, as `prepare` published them; its digest,
    not this name, identifies it."""
    weight: PositiveFloat = 1.0
    """How often the loss of these rows counts."""


class CustomConfig(Config):
    """A function of your own."""

    function: str
    """package.module:function, which the driver and all workers can import. See "Losses"."""
    weight: PositiveFloat = 1.0
    """How often it counts."""


class LossesConfig(Config):
    """The loss: the sum of its terms, each times its weight."""

    mse: MseConfig | None = MseConfig()
    """Mean squared error of the prediction."""
    huber: HuberConfig | None = None
    """Pseudo-Huber error of the prediction."""
    perceptual: PerceptualConfig | None = None
    """Distance of features of the decoded estimate of x0."""
    adversarial: AdversarialConfig | None = None
    """A discriminator of latents."""
    prior_preservation: PriorPreservationConfig | None = None
    """Pictures of the class beside those of the subject (DreamBooth)."""
    custom: CustomConfig | None = None
    """A function of your own."""

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms that every row has."""
        terms = {
            "mse": self.mse, "huber": self.huber, "perceptual": self.perceptual,
            "adversarial": self.adversarial, "custom": self.custom,
        }  # fmt: skip
        return {name: term.weight for name, term in terms.items() if term is not None}

    @model_validator(mode="after")
    def _says_what_is_right(self) -> Self:
        if not self.weights.keys() - {"adversarial"}:
            raise ValueError(
                "nothing but the discriminator judges the network; set mse, huber, perceptual or "
                "custom as well"
            )
        return self
