"""Picture files for tests: real photographs from installed wheels, and every odd or broken kind.

Photographs are scikit-learn's and scikit-image's; nothing is downloaded and no binary file is
kept here. `SOUND` files can be converted, `BROKEN` ones must become dead letters with the given
reason.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

PHOTOGRAPHS = {
    "china": "sklearn/datasets/images/china.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
    "astronaut": "skimage/data/astronaut.png",
    "chelsea": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "rocket": "skimage/data/rocket.jpg",
}


@dataclass(frozen=True)
class Broken:
    """A file that cannot be used, its name, and the reason that must be given."""

    name: str
    data: bytes
    reason: str


@cache
def photograph(name: str) -> Image.Image:
    """A real RGB photograph."""
    package, _, path = PHOTOGRAPHS[name].partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with Image.open(Path(spec.submodule_search_locations[0], path)) as image:
        return image.convert("RGB")


def thumbnail(name: str = "china", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A photograph at (width, height)."""
    return photograph(name).resize(size)


def crops(name: str, count: int, side: int = 96) -> Iterator[Image.Image]:
    """Different square pieces of a photograph."""
    image = photograph(name)
    random = np.random.default_rng(len(name))
    for _ in range(count):
        left = int(random.integers(0, image.width - side))
        top = int(random.integers(0, image.height - side))
        yield image.crop((left, top, left + side, top + side))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as a file's bytes."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """What a plain reader sees: HxW or HxWx3 uint8."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


# Odd and sound.


def exif_rotated(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose pixels lie as they are and whose tag says how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif, quality=95)


def cmyk(image: Image.Image, *, adobe: bool = True) -> bytes:
    """A CMYK JPEG: inverted and marked as Adobe writes it, or plain and unmarked."""
    inks = image.convert("CMYK")
    if adobe:
        return encoded(inks, quality=95)
    # Pillow inverts and marks what it writes: invert once more, and take the mark out.
    data = encoded(Image.fromarray(255 - np.asarray(inks), "CMYK"), quality=95)
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4])
    return data[:start] + data[start + 2 + length :]


def deep_grey(levels: np.ndarray) -> bytes:
    """A 16-bit grey PNG."""
    return encoded(Image.fromarray(levels.astype(np.uint16)), "PNG")


def deep_rgb(width: int, height: int, level: int) -> bytes:
    """A 16-bit RGB PNG of one level, which Pillow itself cannot write."""
    rows = (b"\0" + struct.pack(">H", level) * 3 * width) * height
    return png_file(width, height, bit_depth=16, color_type=2, pixels=rows)


def animated(kind: str, num_frames: int = 3) -> bytes:
    """An animated PNG or WebP."""
    frames = [Image.new("RGB", (16, 16), (60 * index, 0, 0)) for index in range(num_frames)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def stereo(image: Image.Image) -> bytes:
    """An MPO: a JPEG with a second picture behind it, as phones write."""
    return encoded(image, "MPO", save_all=True, append_images=[image.rotate(180)])


@cache
def swapped_profile() -> bytes:
    """An ICC profile whose red and green are exchanged, so that its use cannot be missed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = bytearray(bytes(profile).replace(name, name.replace(b"s", b"x")))
    return bytes(profile)


# Broken.


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, *, bit_depth: int, color_type: int, pixels: bytes) -> bytes:
    """A PNG of filtered rows, whatever they are."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(pixels, 1))
        + png_chunk(b"IEND", b"")
    )


@cache
def png_bomb(side: int = 20_000) -> bytes:
    """A small file of side x side pixels: 400 million by default."""
    return png_file(side, side, bit_depth=1, color_type=0, pixels=bytes(side * (side // 8 + 1)))


def jpeg_bomb() -> bytes:
    """A JPEG whose header claims 65,500 x 65,500 pixels."""
    data = bytearray(encoded(thumbnail()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def bit_flipped_png() -> bytes:
    """A PNG with one damaged byte in the middle of its pixels."""
    data = bytearray(encoded(thumbnail(), "PNG"))
    data[len(data) // 2] ^= 0x10
    return bytes(data)


@cache
def broken_files() -> tuple[Broken, ...]:
    """One of every kind that cannot be used; the first ten are the everyday ones."""
    jpeg = encoded(thumbnail(), quality=90)
    png = encoded(thumbnail(), "PNG")
    webp = encoded(thumbnail(), "WEBP")
    return (
        Broken("truncated.jpg", jpeg[: len(jpeg) // 2], "truncated"),
        Broken("empty.jpg", b"", "empty"),
        Broken("bomb.png", png_bomb(), "too_many_pixels"),
        Broken("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        Broken("animation.webp", animated("WEBP"), "animated"),
        Broken("bit-flip.png", bit_flipped_png(), "corrupt"),
        Broken("gif-inside.jpg", encoded(thumbnail(), "GIF"), "unsupported_format"),
        Broken("truncated.png", png[: len(png) // 2], "truncated"),
        Broken("truncated.webp", webp[: len(webp) // 2], "truncated"),
        Broken("claims-much.jpg", jpeg_bomb(), "too_many_pixels"),
        Broken("animation.png", animated("PNG"), "animated"),
        Broken("no-end.jpg", jpeg[:-2], "truncated"),
        Broken("no-end.png", png[:-12], "truncated"),
        Broken("no-pixels.png", png[:40], "truncated"),
        Broken("only-magic.jpg", jpeg[:4], "truncated"),
        Broken("only-magic.png", png[:8], "truncated"),
        Broken("noise.png", b"\x89PNG\r\n\x1a\n" + b"IEND" * 20, "corrupt"),
        Broken("noise.jpg", bytes(range(256)), "not_an_image"),
        Broken("bitmap.png", encoded(thumbnail(), "BMP"), "unsupported_format"),
        Broken("scan.jpg", encoded(thumbnail(), "TIFF"), "unsupported_format"),
        Broken("phone.jpg", b"\0\0\0\x18ftypheic" + bytes(64), "unsupported_format"),
        Broken("document.jpg", b"%PDF-1.7\n", "unsupported_format"),
    )


TEN_BROKEN = 10
"""How many of `broken_files`, from the front, are the everyday kinds."""
