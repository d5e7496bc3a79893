"""What draws, as verbs see it: requests in, pictures out.

A picture is a function of its request and the drawer's settings (and, in the last bit of the
arithmetic, of the requests beside it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.jobs.rejects import Reject

STAGE = "draw"
NOT_FINITE = "the picture holds values that are no numbers"
Pixels = NDArray[np.uint8]
"""A picture, H x W or H x W x 3."""


@dataclass(frozen=True, slots=True)
class Request:
    """One picture to draw."""

    id: str
    text: str | None
    """The prompt, or the name of the class; None for a model without classes."""
    seed: int
    frames_after: tuple[int, ...] = ()
    """Numbers of steps after which to keep an intermediate; after 0 it is the noise."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture and the intermediates that were asked for."""

    pixels: Pixels = field(repr=False)
    frames: Sequence[Pixels] = field(default=(), repr=False)


class Drawer(Protocol):
    """A loaded model on its device."""

    def count_tokens(self, text: str, /) -> tuple[int, int] | None:
        """Tokens of the text, and how many the encoder cuts off; None without an encoder."""

    def refusal(self, request: Request, /) -> Reject | None:
        """What is wrong with a request, before it is drawn."""

    def draw(self, requests: Sequence[Request], /) -> list[Drawn | Reject]:
        """All at once, in order; a reject where the model gave no picture."""


def unit_levels(image_HWC: NDArray[np.floating[Any]]) -> Pixels:
    """Values in [0, 1], clipped and rounded as diffusers does."""
    levels: Pixels = (image_HWC.clip(0, 1) * 255).round().astype(np.uint8)
    return levels


def refused(request: Request, reason: str, detail: str) -> Reject:
    """The reject of a request."""
    return Reject(request.id, STAGE, reason, detail)


def not_finite(request: Request) -> Reject:
    """The reject of a picture that holds NaN or infinite values."""
    return refused(request, "not_finite", NOT_FINITE)
