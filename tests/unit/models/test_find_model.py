"""A model is found by path, URI or hub id, and its digest names its contents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.helpers.tiny_artifacts import publish_model

from darkroom.errors import ConfigError, IntegrityError
from darkroom.models.files import loaded_files
from darkroom.models.find import FoundModel, find_model
from darkroom.storage import open_store

WEIGHTS = (
    bytes([50, *[0] * 7]) + b'{"w":{"dtype":"U8","data_offsets":[0,42]}}'.ljust(50) + b"w" * 42
)
"""A safetensors file of 100 bytes."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill(folder: str | Path, weights: bytes = WEIGHTS) -> None:
    store = open_store(folder)
    store.put("config.json", b"{}")
    store.put("unet/model.safetensors", weights)


def test_a_folder_is_named_by_its_contents(store_uri: str) -> None:
    fill(store_uri)
    model = find_model(store_uri, field="model")
    assert (model.kind, model.weights_bytes, model.manifest_digest) == ("folder", 100, None)
    assert find_model(store_uri, field="model").digest == model.digest
    fill(store_uri, WEIGHTS[:-1] + b"v")
    assert find_model(store_uri, field="model").digest != model.digest
    with pytest.raises(IntegrityError, match="has changed since"), model.local():
        pass


def test_parts_of_a_folder_have_names_of_their_own(store_uri: str) -> None:
    fill(store_uri)
    open_store(store_uri).put("vae/model.safetensors", WEIGHTS)
    before = find_model(store_uri, field="model")
    assert before.folders_digest(["vae"]) != before.folders_digest(["unet"])
    assert (before.folders_bytes(["vae"]), before.weights_bytes) == (100, 200)
    fill(store_uri, WEIGHTS[:-1] + b"v")
    after = find_model(store_uri, field="model")
    assert after.folders_digest(["vae"]) == before.folders_digest(["vae"])
    assert after.folders_digest(["unet"]) != before.folders_digest(["unet"])
    hub = FoundModel("org/name", None, "commit", "hub", before.files)
    assert hub.folders_digest(["vae"]) != hub.folders_digest(["unet"])


def test_one_file_is_read_alone(store_uri: str) -> None:
    fill(store_uri)
    model = find_model(store_uri, field="model")
    assert model.read("config.json") == b"{}"
    assert model.read("vae/config.json") is None
    published = publish_model(f"{store_uri}/published")
    found = find_model(str(published.uri), field="model")
    assert found.read("unet/config.json") == published.read_bytes("model/unet/config.json")


def test_equal_bytes_have_one_name_wherever_they_lie(tmp_path: Path, bucket_uri: str) -> None:
    """A bucket tells of its objects what depends on how they came there."""
    for place in (str(tmp_path), bucket_uri):
        fill(place)
        open_store(place).put("pytorch_model.bin", place.encode())  # no loader reads it
    first, second = (find_model(place, field="m") for place in (str(tmp_path), bucket_uri))
    assert first.digest == second.digest
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert find_model(str(tmp_path), field="m").digest != first.digest


def test_it_comes_here_whole_and_goes_again(store_uri: str) -> None:
    fill(store_uri)
    with find_model(store_uri, field="model").local() as folder:
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert files == {"config.json", "unet/model.safetensors"}
    assert folder.exists() == store_uri.startswith("file:")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "unet/model.ckpt"])
def test_pickles_alone_are_refused(name: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("config.json", b"{}")
    store.put(name, b"\x80\x04.")
    with pytest.raises(ConfigError, match=rf"pickles only \({name}\).*give its safetensors"):
        find_model(str(tmp_path), field="draw.model")


def test_compiled_modules_are_no_part_of_a_model(tmp_path: Path) -> None:
    fill(tmp_path)
    digest = find_model(str(tmp_path), field="model").digest
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/loader.pyc").write_bytes(b"x")
    assert find_model(str(tmp_path), field="model").digest == digest


def test_a_published_model_is_verified_and_pinned(tmp_path: Path) -> None:
    artifact = publish_model(tmp_path / "a")
    model = find_model(str(tmp_path / "a"), field="model")
    assert (model.kind, model.digest) == ("model", artifact.content_digest)
    assert model.as_parent("model") == artifact.as_parent("model")
    with model.local() as folder:
        assert (folder / "model_index.json").exists()
    (tmp_path / "a/manifest.json").unlink()
    publish_model(tmp_path / "b", classes=("a", "b"))
    (tmp_path / "b").rename(tmp_path / "c")
    (tmp_path / "a").rename(tmp_path / "old")
    (tmp_path / "c").rename(tmp_path / "a")
    with pytest.raises(IntegrityError, match="has changed since"), model.local():
        pass


MIRROR = {
    "model_index.json": 9, "unet/model.safetensors": 100, "unet/model.fp16.safetensors": 50,
    "unet/model.bin": 100,
    "vae/model.safetensors": 10, "vae/model.fp16.safetensors": 5, "single_file.safetensors": 200,
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "asked", "size"),
    [
        (MIRROR, {}, 110),
        (MIRROR, {"variant": "fp16"}, 55),
        (MIRROR, {"variant": "bf16"}, 110),
        ({"model.bin": 7, "model.safetensors": 8}, {}, 8),
        (
            {
                "m.fp16-00001-of-00002.safetensors": 1,
                "m.fp16-00002-of-00002.safetensors": 2,
                "m.safetensors": 9,
            },
            {"variant": "fp16"},
            3,
        ),
        ({"m.fp16.safetensors": 5}, {}, 5),
        ({"a.gguf": 3, "b.gguf": 4, "m.safetensors": 8}, {"gguf_file": "a.gguf"}, 3),
        ({"a.gguf": 3, "m.safetensors": 8}, {}, 8),
        ({}, {}, 0),
    ],
)
def test_only_weights_that_are_loaded_are_fetched_and_counted(
    files: dict[str, int], asked: dict[str, str], size: int
) -> None:
    loaded = loaded_files(files.items(), **asked)
    assert FoundModel("m", None, "0", "folder", tuple(loaded)).weights_bytes == size
    assert ("model_index.json", 9) in loaded or "model_index.json" not in files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/at/all", "no model lies there"),
        ("no-such-owner/no-such-model", "the hub cannot be asked"),
    ],
)
def test_what_is_nowhere_is_named(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=rf"draw\.model.*{message}"):
        find_model(name, field="draw.model")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "lora.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(ConfigError, match=r"lora\.model: got .* is a file; give the folder that"):
        find_model(str(tmp_path / "lora.safetensors"), field="lora.model")


def test_linked_parts_are_read_and_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs/unet").mkdir(parents=True)
    (tmp_path / "blobs/unet/model.safetensors").write_bytes(WEIGHTS)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "unet").symlink_to("../blobs/unet")  # as hub caches and people do
    assert find_model(str(folder), field="model").files == (("unet/model.safetensors", 100),)
    (folder / "config.json").symlink_to("../blobs/gone")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read .*not there"):
        find_model(str(folder), field="model")


def test_a_model_of_the_hubs_cache_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = COMMIT
    root = tmp_path / "models--owner--name"
    fill(root / "snapshots" / commit)
    (root / "snapshots" / commit / "pytorch_model.bin").write_bytes(b"x")
    (root / "refs").mkdir()
    (root / "refs/main").write_text(commit)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = find_model("owner/name", field="model")
    assert (model.kind, model.digest, model.weights_bytes) == ("hub", commit, 100)
    assert [name for name, _ in model.files] == ["config.json", "unet/model.safetensors"]
    assert model.as_parent("model").uri == "hub:owner/name"
    with model.local() as folder:
        assert folder == root / "snapshots" / commit
    with pytest.raises(ConfigError, match="the hub cannot be asked"):
        find_model("owner/other", field="model")


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does of a model whose licence has to be accepted first."""

    def do_GET(self) -> None:
        described = {"id": "owner/gated", "sha": COMMIT, "gated": "manual", "siblings": []}
        allowed = not self.path.endswith("/auth-check")
        body = json.dumps(described).encode() if allowed else b""
        self.send_response(200 if allowed else 403)
        if not allowed:
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to model owner/gated is restricted.")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_model_whose_licence_is_not_accepted_is_refused_with_the_way_to_it(
    tmp_path: Path,
) -> None:
    """By the whole command: the hub's library reads its address once."""
    with HTTPServer(("127.0.0.1", 0), _Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{hub.server_port}"
        done = subprocess.run(
            [sys.executable, "-m", "darkroom", "finetune", "--base", "owner/gated", "--input",
             str(tmp_path), "--output", str(tmp_path / "output")],
            env={**os.environ, "HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "cache"),
                 "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"},
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        hub.shutdown()
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "base: got 'owner/gated', is given only to users who have accepted its licence" in line
    assert f"accept it at {address}/owner/gated, and set HF_TOKEN" in line
    assert not (tmp_path / "output").exists()
