"""The size of pictures: one class for every verb."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Height and width in pixels, and channels (1: grey, 3: RGB), of every picture of a set."""

    height: int
    width: int
    channels: int

    @property
    def num_bytes(self) -> int:
        """Bytes of one decoded uint8 picture."""
        return self.height * self.width * self.channels

    @property
    def chw(self) -> tuple[int, int, int]:
        """Channels, height, width: the shape of one picture's array."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height} with {self.channels} channel(s)"
