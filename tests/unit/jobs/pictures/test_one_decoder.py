"""Every verb sees the same pixels in one file, whatever is odd about it: what `prepare` stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.helpers import pictures as files
from tests.helpers import tiny_artifacts
from tests.helpers.measured import one_picture_reference, seen
from tests.helpers.tiny_artifacts import publish_samples

from darkroom.config import build_config
from darkroom.errors import DataError
from darkroom.jobs.batch.stage import ID
from darkroom.jobs.classify.config import ClassifyConfig
from darkroom.jobs.classify.stages import Decode
from darkroom.jobs.pictures.decode import Picture, published_pixels
from darkroom.jobs.pictures.listing import Item
from darkroom.jobs.pictures.shape import ImageShape
from darkroom.jobs.prepare.config import PrepareConfig
from darkroom.jobs.prepare.rows import decode_item, item_rows
from darkroom.jobs.rejects import Rejects
from darkroom.models.classifier import Preprocess

WIDTH, HEIGHT = 64, 48
Pixels = NDArray[np.uint8]


def _rgba(mode: str = "RGBA") -> Image.Image:
    picture = files.thumbnail().convert(mode)
    alpha = Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    return picture


def _turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return files.encoded(files.thumbnail(size=(HEIGHT, WIDTH)), kind, exif=exif, **_LOSSLESS[kind])


def _bits() -> bytes:
    return files.encoded(files.thumbnail().convert("1"), "PNG")


def _keyed() -> bytes:
    palette = files.thumbnail().convert("P", palette=Image.Palette.ADAPTIVE)
    return files.encoded(palette, "PNG", transparency=0)


def _profile(kind: str) -> bytes:
    picture = files.thumbnail()
    return files.encoded(picture, kind, icc_profile=files.swapped_profile(), **_LOSSLESS[kind])


def _deep() -> bytes:
    levels = np.asarray(files.thumbnail().convert("L")).astype(np.uint16) * 257
    return files.deep_grey(levels)


_LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "JPEG": {}, "WEBP": {"lossless": True}}

ODD: dict[str, Callable[[], bytes]] = {
    "plain.png": lambda: files.encoded(files.thumbnail(), "PNG"),
    "plain.jpg": lambda: files.encoded(files.thumbnail()),
    "plain.webp": lambda: files.encoded(files.thumbnail(), "WEBP"),
    "grey.jpg": lambda: files.encoded(files.thumbnail().convert("L")),
    "rgba.png": lambda: files.encoded(_rgba(), "PNG"),
    "rgba.webp": lambda: files.encoded(_rgba(), "WEBP", lossless=True),
    "grey-alpha.png": lambda: files.encoded(_rgba("L"), "PNG"),
    "palette.png": lambda: files.encoded(files.thumbnail().convert("P"), "PNG"),
    "palette-transparent.png": _keyed,
    "one-bit.png": _bits,
    "deep-grey.png": _deep,
    "deep-rgb.png": lambda: files.deep_rgb(WIDTH, HEIGHT, 40_000),
    "turned.jpg": lambda: _turned(6, "JPEG"),
    "turned.png": lambda: _turned(8, "PNG"),
    "turned.webp": lambda: _turned(5, "WEBP"),
    "cmyk.jpg": lambda: files.cmyk(files.thumbnail()),
    "cmyk-plain.jpg": lambda: files.cmyk(files.thumbnail(), adobe=False),
    "profile.png": lambda: _profile("PNG"),
    "profile.jpg": lambda: _profile("JPEG"),
    "stereo.jpg": lambda: files.stereo(files.thumbnail()),
}


def _settings(channels: int, background: int, encoding: str) -> dict[str, Any]:
    return {
        "source": {"kind": "digits"}, "output": "out", "channels": channels,
        "background": background, "encoding": {"format": encoding},
    }  # fmt: skip


def prepared(data: bytes, channels: int, background: int, encoding: str = "png") -> Pixels:
    config = build_config(PrepareConfig, _settings(channels, background, encoding))
    item = Item("a", "a", size=len(data), split="train")
    picture = decode_item(item, data, config)
    assert isinstance(picture, Picture)
    (row,) = item_rows(item, picture, data, config)
    return files.decoded(row["image"])


def reference(folder: Path, channels: int, background: int, encoding: str = "keep") -> str:
    """Of one black picture; what counts is what it says of how it was made."""
    mode = "L" if channels == 1 else "RGB"
    return one_picture_reference(
        folder, files.encoded(Image.new(mode, (WIDTH, HEIGHT)), "PNG"),
        ImageShape(HEIGHT, WIDTH, channels), classes=["cats"], channels=channels,
        background=background, encoding={"format": encoding},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "background", "encoding"),
    [(3, 255, "keep"), (3, 0, "png"), (1, 255, "keep"), (3, 255, "jpeg"), (3, 255, "webp")],
)
def test_evaluate_sees_what_prepare_stores(
    tmp_path: Path, channels: int, background: int, encoding: str
) -> None:
    real = reference(tmp_path / "data", channels, background, encoding)
    folder = tmp_path / "in/cats"
    folder.mkdir(parents=True)
    for name, make in ODD.items():
        (folder / name).write_bytes(make())
    found = seen(tmp_path / "in", real)
    assert not found.rejects
    for name, image in zip(sorted(ODD), found.images, strict=True):
        wanted = prepared(ODD[name](), channels, background, encoding)
        pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
        assert np.array_equal(pixels, wanted), name


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("background", [0, 255])
def test_classify_sees_what_prepare_stores(name: str, background: int) -> None:
    size = (HEIGHT, WIDTH)
    preprocess = Preprocess(
        resize=size, crop=size, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
    )
    config = ClassifyConfig(input="in", output="out", background=background)
    data = ODD[name]()
    row = {ID: ["a"], "path": ["a"], "expected": [None], "encoded": [data]}
    rejects = Rejects("decode")
    out = Decode(config.to_dict(), preprocess)(pa.table(row), rejects)
    assert not rejects.found
    pixels = np.frombuffer(out["pixels"][0].as_py(), np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert np.array_equal(pixels, prepared(data, 3, background))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ODD)
def test_report_and_sample_see_what_prepare_stores(name: str, channels: int) -> None:
    config = build_config(PrepareConfig, _settings(channels, 255, "keep"))
    data = ODD[name]()
    item = Item("a", "a", size=len(data), split="train")
    picture = decode_item(item, data, config)
    assert isinstance(picture, Picture)
    (row,) = item_rows(item, picture, data, config)
    wanted = files.decoded(row["image"])
    pixels = published_pixels(row["image"], where="a")
    assert np.array_equal(pixels, wanted[None] if wanted.ndim == 2 else wanted.transpose(2, 0, 1))


def test_what_evaluate_cannot_use_has_the_reasons_of_prepare(tmp_path: Path) -> None:
    real = reference(tmp_path / "data", 3, 255)
    folder = tmp_path / "in/cats"
    folder.mkdir(parents=True)
    (folder / "good.png").write_bytes(ODD["plain.png"]())
    for broken in files.broken_files():
        (folder / broken.name).write_bytes(broken.data)
    (folder / "gone.png").symlink_to("nowhere.png")
    found = seen(tmp_path / "in", real)
    assert len(found.images) == 1
    wanted = {f"cats/{broken.name}": broken.reason for broken in files.broken_files()}
    wanted["cats/gone.png"] = "unreadable"
    assert {reject.id: reject.reason for reject in found.rejects} == wanted
    (folder / "good.png").unlink()
    with pytest.raises(DataError, match=r"cats/.* and 22 others cannot be read \("):
        seen(tmp_path / "in", real)


@pytest.mark.parametrize("name", ["bomb.png", "claims-much.jpg", "truncated.webp"])
def test_samples_that_cannot_be_decoded_are_one_line(tmp_path: Path, name: str) -> None:
    (bad,) = (broken for broken in files.broken_files() if broken.name == name)
    samples = tmp_path / "samples"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_artifacts, "png", lambda _: bad.data)
        publish_samples(samples, np.zeros((1, 3, HEIGHT, WIDTH), np.uint8), [0], classes=["cats"])
    with pytest.raises(DataError, match=f"a picture that cannot be read .{bad.reason}: "):
        seen(samples, reference(tmp_path / "data", 3, 255))


def test_a_stored_picture_that_is_damaged_is_named() -> None:
    with pytest.raises(DataError, match=r"strip/1.png', holds a picture .*\(truncated"):
        published_pixels(ODD["plain.png"]()[:100], where="strip/1.png")


def test_evaluate_measures_the_real_thing_of_animations_too(tmp_path: Path) -> None:
    moving = files.encoded(
        files.thumbnail(), "WEBP", save_all=True, append_images=[files.thumbnail("flower")],
        lossless=True,
    )  # fmt: skip
    real = reference(tmp_path / "data", 3, 255)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.webp").write_bytes(moving)
    (tmp_path / "in/b.png").write_bytes(ODD["plain.png"]())
    assert [reject.reason for reject in seen(tmp_path / "in", real).rejects] == ["animated"]
