"""A safety check of the operator's own, on every picture before anybody gets it.

    def function(pixels, prompt) -> bool

pixels: uint8, H x W (grey) or H x W x 3; prompt: what the client wrote, or the class; None where
the model draws without. True keeps the picture back. It runs where pictures are drawn, so it may
hold a network of its own. What a model's own checker blanks never reaches it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from darkroom.errors import ServingError
from darkroom.jobs.drawing.drawer import Pixels
from darkroom.jobs.named_function import find_function
from darkroom.jobs.serve.engine.joined import Finished
from darkroom.jobs.serve.request import DrawRequest

FIELD = "safety_check"


class SafetyCheck:
    """The function, or none."""

    def __init__(self, path: str | None) -> None:
        """Errors: ConfigError for what cannot be imported."""
        self._path = path
        self._function = None if path is None else find_function(FIELD, path)

    def keeps_back(self, request: DrawRequest, pixels: Pixels) -> bool:
        """Whether it is not to be shown. Errors: ServingError, where the check does not say."""
        if self._function is None:
            return False
        try:
            said = self._function(pixels.copy(), request.prompt or request.label)
        except Exception as error:  # it is the operator's, and may raise anything
            raise ServingError(
                f"{FIELD} {self._path} raised {type(error).__name__}; the picture is kept back"
            ) from error
        if not isinstance(said, bool | np.bool_):
            raise ServingError(
                f"{FIELD} {self._path} returned a {type(said).__name__} and no bool; the picture "
                "is kept back"
            )
        return bool(said)

    def checked(self, request: DrawRequest, found: Finished) -> Finished:
        """The picture, blank and flagged where it is kept back."""
        if found.flagged or not self.keeps_back(request, found.pixels):
            return found
        return replace(found, pixels=np.zeros_like(found.pixels), flagged=True)
