"""One untrusted image file to one clean picture: grey (L) or RGB, upright, opaque, sRGB.

Assumes nothing about the bytes. They are looked at in this order, cheapest and safest first:
size, content (never the file's name), the header's dimensions, frames, then the pixels, which
must be complete. What can be converted soundly is converted; the rest comes back as a `Reject`
with a reason code, never as an exception. Resizing and encoding are left to the verbs.

| file | becomes |
|---|---|
| CMYK, YCCK JPEG | RGB through its ICC profile, else by complement |
| 16-bit grey PNG | 8 bits, rounded (65535 is 255) |
| palette, 1-bit | RGB or grey |
| alpha, transparent colour | composited on the background |
| EXIF orientation | turned upright |
| ICC profile other than sRGB | sRGB colours |
| animation | rejected, or its first frame on request |
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, _imaging

from darkroom import contents
from darkroom.errors import DataError
from darkroom.jobs.pictures.config import ImageFormat, LimitsConfig
from darkroom.jobs.pictures.convert import to_plain
from darkroom.jobs.pictures.reasons import Reason
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.rejects import Reject, traceback_digest

STAGE = "decode"
"""As dead letters name it."""

NUM_KEPT_BLOCKS = 4
"""Blocks of memory, of at most 16 MiB each, that Pillow keeps from one picture for the next."""

_STORED = LimitsConfig(max_bytes=1 << 31, max_pixels=1 << 28)
"""`prepare` has looked at them before, with the bounds that its user set."""

_FORMATS: dict[str, ImageFormat] = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}
_OPENERS = ("JPEG", "PNG", "WEBP")

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_FOREIGN = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\1\0": "ICO",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"PK\3\4": "zip",
    b"\x1f\x8b": "gzip",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file."""

    image: Image.Image
    """L or RGB as asked, without metadata."""
    format: ImageFormat
    """The file's own format, by content."""
    is_exact: bool
    """The file's bytes already mean exactly `image` to any reader, so they may be kept."""


class _Unusable(Exception):  # noqa: N818  (control flow inside this module, never seen outside)
    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


def keep_memory() -> None:
    """Let Pillow use memory again in this process: mapping it anew costs as much as decoding."""
    _imaging.set_blocks_max(max(NUM_KEPT_BLOCKS, _imaging.get_blocks_max()))


def decode(
    data: bytes,
    *,
    row_id: str = "",
    channels: Literal[1, 3] | None = None,
    background: int = 255,
    animated: Literal["reject", "first_frame"] = "reject",
    limits: LimitsConfig | None = None,
) -> Picture | Reject:
    """The picture in `data`, or why there is none.

    row_id: names the row that a reject is of.
    channels: 1 for L, 3 for RGB, None for what the file has. background: grey level (0..255) under
    transparency.
    """
    limits = LimitsConfig() if limits is None else limits
    try:
        _check_bytes(data, limits)
        with _guarded(limits.max_pixels), _open(data) as image:
            _check_header(image, limits, animated)
            return _decode_opened(image, data, channels, background)
    except _Unusable as error:
        return Reject(row_id, STAGE, error.reason, error.detail)
    except Exception as error:  # noqa: BLE001  (hostile bytes raise anything from Pillow)
        reason, detail = _undecodable(data, error)
        return Reject(row_id, STAGE, reason, detail, traceback_digest(error))


def published_pixels(
    data: bytes, *, where: str, shape: ImageShape | None = None, field: str = "picture"
) -> NDArray[np.uint8]:
    """uint8 (C, H, W) of a picture that a verb published: the one decoder of such pictures.

    `prepare` has made them plain, so none of `decode`'s work is done again but to say what is
    wrong. shape: what the picture must have; without one, 1 channel where it is grey, else 3.
    Errors: DataError naming `field` and `where`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_OPENERS) as image:
            is_grey = image.mode == "L" if shape is None else shape.channels == 1
            pixels = np.asarray(image.convert("L" if is_grey else "RGB"))
    except Exception as error:  # noqa: BLE001  (damaged bytes raise anything from Pillow)
        found = decode(data, row_id=where, limits=_STORED)
        why = ": ".join(_undecodable(data, error))
        if isinstance(found, Reject):
            why = f"{found.reason}: {found.detail}"
        problem = f"holds a picture that cannot be read ({why})"
        raise DataError(field, where, problem) from None
    height, width = pixels.shape[:2]
    if shape is not None and (height, width) != (shape.height, shape.width):
        raise DataError(
            field, f"{height}x{width}",
            f"the size of {where}, is not the {shape.height}x{shape.width} of the others",
            "give pictures of one size: prepare or draw them so",
        )  # fmt: skip
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_bytes(data: bytes, limits: LimitsConfig) -> None:
    if not data:
        raise _Unusable("empty", "0 bytes")
    if len(data) > limits.max_bytes:
        raise _Unusable("too_many_bytes", f"{len(data)} bytes; at most {limits.max_bytes}")
    if sniff(data) is None:
        foreign = _foreign_format(data)
        if foreign is None:
            other = contents.foreign(data[: contents.HEAD_BYTES])
            detail = f"begins with {data[:16]!r}" if other is None else other.what
            raise _Unusable("not_an_image", detail)
        raise _Unusable("unsupported_format", f"{foreign}; JPEG, PNG and WebP are read")


@contextmanager
def _guarded(max_pixels: int) -> Iterator[None]:
    """Pillow with our own bomb limit, and no chatter about odd metadata."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = f"{_first_line(error)} The limit set is {max_pixels} pixels."
        raise _Unusable("too_many_pixels", detail) from None
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _open(data: bytes) -> Image.Image:
    """The header alone; a PNG's checksums too, since Pillow skips them while decoding."""
    image = Image.open(io.BytesIO(data), formats=_OPENERS)
    if image.format == "PNG":
        with Image.open(io.BytesIO(data), formats=_OPENERS) as again:
            again.verify()
        # verify() does not read the last checksum.
        if len(data) < data.rfind(b"IEND") + 8:
            raise _Unusable("truncated", "the last chunk is cut off")
        if _PNG_END not in data:
            raise _Unusable("corrupt", "the last chunk's checksum is wrong")
    return image


def _check_header(image: Image.Image, limits: LimitsConfig, animated: str) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise _Unusable(
            "too_many_pixels", f"{width} x {height}; at most {limits.max_pixels} pixels"
        )
    if min(width, height) < limits.min_side:
        raise _Unusable("too_small", f"{width} x {height}; at least {limits.min_side} each way")
    num_frames = _num_frames(image)
    if num_frames > 1 and animated == "reject":
        raise _Unusable("animated", f"{num_frames} frames")


def _num_frames(image: Image.Image) -> int:
    """Frames of an animation. A JPEG with further pictures behind it (MPO, as phones write for
    depth or stereo) is not one: every JPEG reader sees its first.
    """
    return 1 if image.format in ("JPEG", "MPO") else int(getattr(image, "n_frames", 1))


def _decode_opened(
    image: Image.Image, data: bytes, channels: Literal[1, 3] | None, background: int
) -> Picture:
    own_format = _FORMATS[str(image.format)]
    is_plain = _num_frames(image) == 1 and not _is_deep_png(data, own_format)
    if _num_frames(image) > 1:
        image.seek(0)
    image.load()
    plain, changed = to_plain(image, channels=channels, background=background)
    return Picture(plain, own_format, is_exact=is_plain and not changed)


def _is_deep_png(data: bytes, own_format: ImageFormat) -> bool:
    """16 bits per sample by the IHDR chunk; Pillow hands RGB out as 8 bits without a word."""
    return own_format == "png" and data[24] == 16


def _undecodable(data: bytes, error: Exception) -> tuple[Reason, str]:
    is_cut = "truncated" in str(error).lower() or _ends_early(data)
    reason: Reason = "truncated" if is_cut else "corrupt"
    if isinstance(error, UnidentifiedImageError):
        return reason, "its header cannot be read"
    return reason, _first_line(error)


def _ends_early(data: bytes) -> bool:
    """By the format's own framing the file should go on."""
    match sniff(data):
        case "jpeg":
            return b"\xff\xd9" not in data
        case "png":
            return b"IEND" not in data[-32:]
        case _:
            return len(data) < 8 + int.from_bytes(data[4:8], "little")


def sniff(data: bytes) -> ImageFormat | None:
    """The format by the first bytes, for the three that are read."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None


def _foreign_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return f"{data[8:12].decode('ascii', 'replace').strip()} (HEIF, AVIF or video)"
    return next((name for magic, name in _FOREIGN.items() if data.startswith(magic)), None)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
