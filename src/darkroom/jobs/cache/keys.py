"""Keys of encodings: digests of everything that decides one, and of nothing else.

Equal keys mean equal encodings up to the last bit, in which batch mates may differ: so keys are
made of inputs, never of outputs. A changed picture changes its own keys, another VAE those of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.config import json_digest

KEY_BYTES = 32
_VERSION = 1
"""Raised when the same inputs are encoded otherwise than before."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """What all encodings of a run are made with."""

    vae_digest: str
    text_digest: str | None
    """None where captions are not encoded."""
    precision: str
    stored_dtype: str
    seed: int
    augment: Mapping[str, Any]

    def of_picture(
        self, picture_sha256: str, *, row_id: str, variant: int, size: tuple[int, int]
    ) -> bytes:
        """Of one variant of an encoded picture, KEY_BYTES long; variant 0 is the picture itself.

        size: height and width in pixels that it is encoded at, its bucket's.
        """
        values: dict[str, Any] = {
            "picture": picture_sha256,
            "size": list(size),
            "vae": self.vae_digest,
        }
        if variant:
            # What is drawn is a function of these.
            values["drawn"] = [self.seed, row_id, variant, dict(self.augment)]
        return self._key(values)

    def of_text(self, caption: str) -> bytes | None:
        """Of a caption, KEY_BYTES long; None where captions are not encoded."""
        if self.text_digest is None:
            return None
        text = json.dumps(caption)  # any text, also one that UTF-8 has not
        return self._key(
            {"caption": text, "encoders": self.text_digest, "precision": self.precision}
        )

    def _key(self, values: Mapping[str, Any]) -> bytes:
        whole = {**values, "stored": self.stored_dtype, "version": _VERSION}
        return bytes.fromhex(json_digest(whole))


def picture_sha256(data: bytes) -> str:
    """Digest of an encoded picture."""
    return hashlib.sha256(data).hexdigest()


def split_keys(keys: bytes) -> list[bytes]:
    """The keys of a row's variants, which are stored behind each other."""
    return [keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)]
