"""The handwritten digits that scikit-learn ships, as a source: 1,797 grey pictures of 8x8.

Values 0..16 become 0..255. The pictures are encoded as PNG on the driver (under 200 kB) and
travel with the listing, so that no task has to import scikit-learn.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from darkroom.jobs.pictures.listing import Item, PictureListing
from darkroom.storage import Parent

URI = "builtin:digits"


class Digits:
    """scikit-learn's copy of the UCI optical digits test set."""

    def listing(self) -> PictureListing:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images_NHW = (digits.images / 16 * 255).round().astype(np.uint8)
        labels_N = digits.target.astype(np.int64)
        items = [
            Item(id=f"digits-{index:04d}", path=f"{URI}/{index:04d}", label=int(label), data=data)
            for index, (label, data) in enumerate(zip(labels_N, map(_png, images_NHW), strict=True))
        ]
        digest = hashlib.sha256(images_NHW.tobytes() + labels_N.tobytes()).hexdigest()
        return PictureListing(
            items=items,
            classes=[str(name) for name in digits.target_names],
            parent=Parent(role="source", uri=URI, digest=digest, kind="digits"),
        )

    def read(self, items: Sequence[Item], *, concurrency: int) -> list[bytes]:
        raise NotImplementedError("digits travel with their items")

    def heads(self, items: Sequence[Item], *, length: int, concurrency: int) -> list[bytes]:
        return []


def _png(pixels_HW: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels_HW).save(out, "PNG")
    return out.getvalue()
