"""Every kind of file: converted where that is sound, else a dead letter with its reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.helpers import pictures as files

from darkroom.jobs.pictures.config import LimitsConfig
from darkroom.jobs.pictures.decode import Picture, decode
from darkroom.jobs.rejects import Reject

WHITE, BLACK = 255, 0


def picture(data: bytes, **options: object) -> Picture:
    found = decode(data, **{"channels": 3, **options})  # type: ignore[arg-type]
    assert isinstance(found, Picture), found
    return found


def pixels(data: bytes, **options: object) -> np.ndarray:
    return np.asarray(picture(data, **options).image).astype(int)


@pytest.mark.parametrize("broken", files.broken_files(), ids=lambda broken: broken.name)
def test_broken_file_is_a_dead_letter_with_its_reason(broken: files.Broken) -> None:
    found = decode(broken.data, channels=3)
    assert isinstance(found, Reject)
    assert found.reason == broken.reason
    assert found.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_plain_file_is_exactly_what_a_plain_reader_sees(kind: str) -> None:
    data = files.encoded(files.thumbnail(), kind)
    found = picture(data)
    assert found.is_exact
    assert found.format == kind.lower()
    assert np.array_equal(np.asarray(found.image), files.decoded(data))


def test_plain_grey_file_is_exact_for_one_channel_and_not_for_three() -> None:
    data = files.encoded(files.thumbnail().convert("L"), "PNG")
    assert picture(data, channels=1).is_exact
    assert picture(data, channels=1).image.mode == "L"
    assert not picture(data, channels=3).is_exact
    assert picture(data, channels=3).image.mode == "RGB"


def test_progressive_jpeg_is_exact() -> None:
    assert picture(files.encoded(files.thumbnail(), progressive=True)).is_exact


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_file_cut_anywhere_is_never_accepted(kind: str, share: float) -> None:
    data = files.encoded(files.thumbnail(), kind)
    found = decode(data[: int(share * len(data))], channels=3)
    assert isinstance(found, Reject)
    assert found.reason in ("empty", "truncated", "corrupt", "not_an_image")


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    position=st.floats(0, 1, exclude_max=True),
    noise=st.binary(min_size=1, max_size=64),
)
def test_hostile_bytes_never_raise(kind: str, position: float, noise: bytes) -> None:
    data = bytearray(files.encoded(files.thumbnail(size=(16, 12)), kind))
    start = int(position * len(data))
    data[start : start + len(noise)] = noise
    found = decode(bytes(data), channels=3)
    assert isinstance(found, Picture | Reject)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(min_value=33), bit=st.integers(0, 7))
@example(position=-1, bit=0)  # the very last byte, which Pillow does not look at
def test_one_flipped_bit_in_a_png_is_always_found(position: int, bit: int) -> None:
    data = bytearray(files.encoded(files.thumbnail(size=(16, 12)), "PNG"))
    data[33 + position % (len(data) - 33)] ^= 1 << bit
    assert isinstance(decode(bytes(data), channels=3), Reject)


@pytest.mark.parametrize("adobe", [True, False], ids=["adobe-inverted", "plain"])
def test_cmyk_jpeg_has_the_colours_of_its_rgb_original(adobe: bool) -> None:
    original = files.thumbnail()
    found = picture(files.cmyk(original, adobe=adobe))
    assert not found.is_exact
    assert found.image.mode == "RGB"
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(original)).mean() < 6


def test_16_bit_grey_is_scaled_to_the_full_range_and_rounded() -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]])
    assert pixels(files.deep_grey(deep), channels=1).tolist() == [[0, 0, 1, 1, 128, 254, 255, 255]]


def test_16_bit_rgb_is_8_bits_and_its_bytes_are_not_kept() -> None:
    found = picture(files.deep_rgb(4, 3, level=0x80FF))
    assert not found.is_exact
    assert np.asarray(found.image).tolist() == [[[0x80] * 3] * 4] * 3


def test_palette_is_written_out() -> None:
    original = files.thumbnail().quantize(16)
    found = picture(files.encoded(original, "PNG"))
    assert not found.is_exact
    assert np.array_equal(np.asarray(found.image), np.asarray(original.convert("RGB")))


def test_one_bit_becomes_black_and_white() -> None:
    bits = Image.fromarray(np.eye(4, dtype=bool))
    assert pixels(files.encoded(bits, "PNG"), channels=1).tolist() == (255 * np.eye(4)).tolist()


def with_alpha() -> Image.Image:
    image = Image.new("RGBA", (3, 1), (200, 100, 0, 255))
    image.putpixel((1, 0), (200, 100, 0, 0))
    image.putpixel((2, 0), (200, 100, 0, 128))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("background", [WHITE, BLACK])
def test_alpha_is_composited_on_the_background(kind: str, background: int) -> None:
    data = files.encoded(with_alpha(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    opaque, clear, half = pixels(data, background=background)[0]
    assert opaque.tolist() == [200, 100, 0]
    assert clear.tolist() == [background] * 3
    mixed = (np.array([200, 100, 0]) * 128 + background * 127) / 255
    assert np.abs(half - mixed).max() <= 1


def test_grey_with_alpha_is_composited_exactly() -> None:
    image = Image.new("LA", (2, 1), (77, 255))
    image.putpixel((1, 0), (77, 0))
    assert pixels(files.encoded(image, "PNG"), channels=1).tolist() == [[77, 255]]


@pytest.mark.parametrize(
    ("image", "transparency"),
    [
        (Image.new("L", (2, 1), 9), 9),
        (Image.new("RGB", (2, 1), (1, 2, 3)), (1, 2, 3)),
        (Image.new("P", (2, 1), 0), 0),
        (Image.fromarray(np.full((1, 2), 4369, np.uint16)), 4369),
    ],
    ids=["grey", "rgb", "palette", "16-bit"],
)
def test_colour_declared_transparent_shows_the_background(
    image: Image.Image, transparency: object
) -> None:
    found = picture(files.encoded(image, "PNG", transparency=transparency), background=WHITE)
    assert not found.is_exact
    assert np.asarray(found.image).min() == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_dropped(orientation: int) -> None:
    upright = files.thumbnail()
    # How a camera held that way stores the scene, so that applying the tag gives `upright`.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    found = picture(files.exif_rotated(stored, orientation))
    assert found.image.size == upright.size
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(upright)).mean() < 6
    assert found.is_exact == (orientation == 1)
    assert not found.image.getexif()


def test_unreadable_exif_is_ignored() -> None:
    data = files.encoded(files.thumbnail(), exif=b"Exif\0\0" + b"\xff" * 40)
    assert picture(data).is_exact


def test_colour_profile_is_applied() -> None:
    image = Image.new("RGB", (8, 8), (220, 30, 30))
    found = picture(files.encoded(image, "PNG", icc_profile=files.swapped_profile()))
    red, green, _ = np.asarray(found.image)[0, 0].astype(int)
    assert not found.is_exact
    assert green > 180
    assert red < 100


@pytest.mark.parametrize("profile", [b"nonsense", b""], ids=["unusable", "none"])
def test_unusable_profile_changes_nothing(profile: bytes) -> None:
    assert picture(files.encoded(files.thumbnail(), icc_profile=profile)).is_exact


def test_srgb_profile_keeps_the_bytes() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert picture(files.encoded(files.thumbnail(), icc_profile=profile)).is_exact


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_stands_for_its_first_frame_on_request(kind: str) -> None:
    found = picture(files.animated(kind), animated="first_frame")
    assert not found.is_exact
    assert found.image.size == (16, 16)
    assert np.abs(np.asarray(found.image).astype(int)).max() <= 2  # the first frame is black


def test_second_picture_behind_a_jpeg_is_no_animation() -> None:
    data = files.stereo(files.thumbnail())
    found = picture(data)
    assert found.format == "jpeg"
    assert np.array_equal(np.asarray(found.image), files.decoded(data))


def test_no_metadata_survives() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    found = picture(
        files.encoded(files.thumbnail(), exif=exif, comment=b"by someone", dpi=(72, 72))
    )
    assert found.image.info == {}
    out = io.BytesIO()
    found.image.save(out, "PNG")
    assert b"camera" not in out.getvalue()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (LimitsConfig(max_bytes=100), "too_many_bytes"),
        (LimitsConfig(max_pixels=64 * 48 - 1), "too_many_pixels"),
        (LimitsConfig(max_pixels=64 * 48 // 3), "too_many_pixels"),
        (LimitsConfig(min_side=49), "too_small"),
    ],
    ids=["bytes", "pixels", "many-pixels", "side"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_limits_hold_for_every_format(kind: str, limits: LimitsConfig, reason: str) -> None:
    found = decode(files.encoded(files.thumbnail(), kind), channels=3, limits=limits)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_picture_at_every_limit_is_accepted() -> None:
    data = files.encoded(files.thumbnail())
    limits = LimitsConfig(max_bytes=len(data), max_pixels=64 * 48, min_side=48)
    assert isinstance(decode(data, channels=3, limits=limits), Picture)


def test_pillows_own_limit_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode(files.png_bomb(), channels=3)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("begins", "name"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS", "Photoshop"),
        (b"II+\0", "TIFF"),
    ],
)
def test_a_picture_of_another_format_is_named(begins: bytes, name: str) -> None:
    found = decode(begins + bytes(40))
    assert isinstance(found, Reject)
    assert (found.reason, found.detail.partition(";")[0]) == ("unsupported_format", name)
