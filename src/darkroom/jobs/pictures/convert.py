"""A loaded Pillow image of any mode to plain L or RGB, upright, opaque, in sRGB.

Assumes that the pixels are loaded. Each step says whether it changed what a plain reader of the
original file would have seen, so that unchanged files can be stored as they are.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps

Info = dict[Any, Any]  # Image.info: what Pillow found beside the pixels

_MAX_PROFILE_BYTES = 4 * 1024 * 1024


def to_plain(
    image: Image.Image, *, channels: Literal[1, 3] | None, background: int
) -> tuple[Image.Image, bool]:
    """(L or RGB picture without metadata, whether it differs from the file's own pixels)."""
    info = dict(image.info)
    picture, turned = _upright(image)
    picture = _expanded(_eight_bit(picture, info, background))
    picture, recoloured = _srgb(picture, info)
    picture = _opaque(picture, background)
    is_grey = channels == 1 or (channels is None and picture.mode in ("1", "L"))
    target = "L" if is_grey else "RGB"
    changed = turned or recoloured or image.mode != target or "transparency" in info
    picture = picture if picture.mode == target else picture.convert(target)
    return _without_metadata(picture), changed


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """Apply the EXIF orientation; unreadable EXIF says nothing about it."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  (hostile metadata raises anything)
        return image, False
    if orientation not in range(2, 9):
        return image, False
    return ImageOps.exif_transpose(image), True


def _eight_bit(image: Image.Image, info: Info, background: int) -> Image.Image:
    """16-bit grey to 8 bits: 65535 becomes 255, rounded; its transparent value the background."""
    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image).astype(np.int64).clip(0, 65535)
    grey = ((deep + 128) // 257).astype(np.uint8)
    transparent = info.get("transparency")
    if isinstance(transparent, int):
        grey[deep == transparent] = background
    return Image.fromarray(grey)


def _expanded(image: Image.Image) -> Image.Image:
    """Palettes and declared transparent colours written out as RGB or RGBA."""
    keyed = image.info.get("transparency") is not None
    if image.mode == "P":
        return image.convert("RGBA" if keyed else "RGB")
    if image.mode in ("LA", "La", "PA", "RGBa") or (keyed and image.mode in ("1", "L", "RGB")):
        return image.convert("RGBA")
    return image


def _srgb(image: Image.Image, info: Info) -> tuple[Image.Image, bool]:
    """Colours by the embedded ICC profile where there is a usable one, CMYK always to RGB.

    Grey profiles are ignored: they shift tone a little and never colour.
    """
    if image.mode == "CMYK":
        image = _as_ink_amounts(image, info)
        return _by_profile(image, info) or image.convert("RGB"), True
    if image.mode in ("RGB", "RGBA"):
        converted = _by_profile(image, info)
        if converted is not None:
            return converted, True
    return image, False


def _as_ink_amounts(image: Image.Image, info: Info) -> Image.Image:
    """Undo Pillow's inversion where it does not belong.

    Adobe writes CMYK JPEGs inverted and marks them (APP14); Pillow inverts every CMYK JPEG.
    """
    return image if "adobe" in info else ImageChops.invert(image)


def _by_profile(image: Image.Image, info: Info) -> Image.Image | None:
    """`image` in sRGB, or None when its profile is missing, sRGB already, or unusable."""
    profile_bytes = info.get("icc_profile")
    if not isinstance(profile_bytes, bytes) or len(profile_bytes) > _MAX_PROFILE_BYTES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _opaque(image: Image.Image, background: int) -> Image.Image:
    """Alpha composited on the background."""
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(paper, image).convert("RGB")


def _without_metadata(image: Image.Image) -> Image.Image:
    """The pixels alone: nothing of EXIF, ICC or text may reach the encoder.

    Copied only where a file keeps more than `info` says: a copy costs a fifth of decoding.
    """
    clean = image.copy() if _has_exif(image) else image
    clean.info = {}
    return clean


def _has_exif(image: Image.Image) -> bool:
    try:
        return bool(image.getexif())
    except Exception:  # noqa: BLE001  (hostile metadata raises anything)
        return True
