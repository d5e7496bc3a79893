"""A model's folder that is half of one is named by its file, wherever a library would stumble."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.helpers.language_models import save_tiny_language_model
from tests.helpers.tiny_artifacts import publish_model
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

from darkroom.errors import ConfigError, DataError
from darkroom.jobs.drawing.load import load_drawer
from darkroom.jobs.generate.config import EnhanceConfig, TextToImageConfig
from darkroom.jobs.generate.language_model import load_language_model
from darkroom.models.find import find_model
from darkroom.models.unet import load_unet
from darkroom.storage import open_output, open_store

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title>"


def safetensors(num_bytes: int = 4, **entry: object) -> bytes:
    header = {"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], **entry}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"w" * num_bytes


def named(name: str) -> bytes:
    """The same weights under another name."""
    text = safetensors()[8:-4].replace(b'"w"', f'"{name}"'.encode())
    return len(text).to_bytes(8, "little") + text + b"wwww"


WHOLE = safetensors()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": POINTER}, r"config\.json is a Git LFS pointer.*git lfs pull"),
        ({"model_index.json": PAGE}, r"model_index\.json is a web page"),
        ({"model_index.json": b""}, r"model_index\.json is empty"),
        ({"unet/config.json": b'{"a": '}, r"unet/config\.json is no JSON"),
        ({"unet/config.json": b"[" * 100_000}, r"unet/config\.json is no JSON"),
        ({"model_index.json": b"\xef\xbb\xbf{}"}, "begins with a byte-order mark; save it as"),
        ({"unet/config.json": b'{"a": "\xff"}'}, r"is no text of UTF-8 \(byte 7\)"),
        ({"tokenizer/vocab.json": b"[]"}, r"vocab\.json holds no JSON object"),
        ({"tokenizer.json": POINTER}, r"tokenizer\.json is a Git LFS pointer"),
        ({"unet/m.safetensors": POINTER}, r"m\.safetensors is a Git LFS pointer"),
        ({"unet/m.safetensors": b""}, r"m\.safetensors is empty"),
        ({"unet/m.safetensors": bytes(999)}, "NUL bytes only"),
        ({"unet/m.safetensors": WHOLE[:-1]}, r"is cut off: it has 71 of 72 bytes"),
        ({"unet/m.safetensors": WHOLE[:30]}, "is safetensors that is cut off"),
        ({"unet/m.safetensors": WHOLE + b"w"}, "is too long"),
        ({"unet/m.safetensors": safetensors(data_offsets="x")}, "that is damaged"),
        ({"unet/m.safetensors": b"PK\x03\x04 a pickle"}, "is no safetensors file"),
        ({"m.safetensors": named("_orig_mod.w")}, r"names that torch\.compile gives.*_orig_mod\.w"),
        ({"m.safetensors": named("block._orig_mod.w")}, r"names that torch\.compile gives"),
        ({"m.safetensors": named("module.w")}, "names that DataParallel gives"),
        ({"m.gguf": b"none"}, r"m\.gguf is no GGUF"),
        ({"m-00001-of-00002.safetensors": WHOLE, "m-00002-of-00002.safetensors": POINTER},
         r"m-00002-of-00002\.safetensors is a Git LFS pointer"),
        ({"unet/m.safetensors": POINTER, "vae/m.safetensors": WHOLE}, "unet/m.safetensors is a"),
        # What is not loaded may be anything.
        ({"unet/m.safetensors": WHOLE, "unet/m.bin": POINTER, "unet/m.fp16.safetensors": b""}, ""),
        ({"README.md": PAGE, "flax_model.msgpack": POINTER, "m.safetensors": WHOLE}, ""),
        ({"model_index.json": b"{}", "unet/m.safetensors": WHOLE, "m.safetensors": POINTER}, ""),
        ({"m.safetensors": WHOLE, "m.gguf": POINTER, "notes.txt": b""}, ""),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_before_anything_starts(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    if not message:
        find_model(str(tmp_path), field="draw.model")
        return
    with pytest.raises(ConfigError, match=rf"draw\.model: got .*its file .*{message}") as caught:
        find_model(str(tmp_path), field="draw.model")
    assert str(caught.value).isprintable()


def test_a_folder_in_a_bucket_is_looked_at_too(store_uri: str) -> None:
    store = open_store(store_uri)
    store.put("config.json", b"{}")
    store.put("model.safetensors", WHOLE[:-1])
    with pytest.raises(ConfigError, match="71 of 72 bytes"):
        find_model(store_uri, field="enhance.model")


def only_a_pickle_is_whole(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(POINTER)
    (folder / "pytorch_model.bin").write_bytes(b"\x80 some other format")


def of_another_type(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors(dtype="F31"))


def of_another_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "many"}')


def with_other_names(folder: Path, name: str = "model.safetensors") -> None:
    path = folder / name
    save_file({f"net.{name}": t for name, t in load_file(path).items()}, path, {"format": "pt"})


def without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": 7}')


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_language_model(folder / "llm")
    save_tiny_stable_diffusion(folder / "sd")
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (only_a_pickle_is_whole, r"its file model\.safetensors is a Git LFS pointer"),
        (of_another_type, "cannot be loaded"),
        (of_another_model, "cannot be loaded"),
        (without_a_tokenizer, "cannot be loaded"),
        (with_other_names, r"\(21 of its weights are not there, first lm_head\.weight\)"),
    ],
)
def test_a_language_model_that_does_not_load_is_one_line(
    models: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(models / "llm", tmp_path / "llm")
    spoil(folder)
    config = EnhanceConfig(model=str(folder))
    with pytest.raises(ConfigError, match=rf"enhance\.model.*{message}") as caught:
        load_language_model(config, find_model(str(folder), field="enhance.model"), "transformers")
    assert "\n" not in str(caught.value)


def broken_variant(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(POINTER)


def unknown_pipeline(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": ["x"], "unet": 3}')


def other_names_in_the_unet(folder: Path) -> None:
    with_other_names(folder / "unet", "diffusion_pytorch_model.safetensors")


def odd_unet(folder: Path) -> None:
    (folder / "unet/config.json").write_text(
        '{"_class_name": "UNet2DConditionModel", "down_block_types": 7}'
    )


@pytest.mark.parametrize(
    ("spoil", "variant", "message"),
    [
        (broken_variant, "fp16", r"unet/diffusion_pytorch_model\.fp16\.safetensors is a Git LFS"),
        (unknown_pipeline, None, "cannot be loaded"),
        (odd_unet, None, "cannot be loaded"),
        (other_names_in_the_unet, None, r"weights of its unet are not there, first conv_in\.bias"),
    ],
)
def test_a_pipeline_that_does_not_load_is_one_line(
    models: Path, tmp_path: Path, spoil: Callable[[Path], None], variant: str | None, message: str
) -> None:
    folder = shutil.copytree(models / "sd", tmp_path / "sd")
    spoil(folder)
    config = TextToImageConfig(model=str(folder), variant=variant)
    with pytest.raises(ConfigError, match=rf"draw\.model.*{message}") as caught:
        load_drawer(config, find_model(str(folder), field="draw.model"), prefix="draw.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [b"", b"[]", PAGE, b"[" * 100_000])
def test_a_published_model_without_a_config_is_named(tmp_path: Path, config: bytes) -> None:
    original = publish_model(tmp_path / "a").manifest
    from darkroom.config import JobConfig

    job = JobConfig(output=str(tmp_path / "b"))
    with open_output(job.output, kind="model", config=job) as output:
        entry = output.writer.write_bytes("model/unet/config.json", config)
        artifact = output.publish([entry], metadata=original.metadata)
    with pytest.raises(DataError, match="does not load as safetensors of its U-Net") as caught:
        load_unet(artifact)
    assert "\n" not in str(caught.value)
