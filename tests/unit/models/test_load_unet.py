"""A published model is read back as what was published, or named as what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

from darkroom.errors import DataError, IntegrityError
from darkroom.jobs.artifacts.model import ModelInfo
from darkroom.models.unet import load_unet


def test_the_weights_are_the_published_ones_ready_to_draw(tmp_path: Path) -> None:
    original = tiny_unet(seed=3)
    loaded = load_unet(publish_model(tmp_path, original))
    assert not loaded.training
    expected = original.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_what_a_model_is_comes_from_its_manifest(tmp_path: Path) -> None:
    info = ModelInfo.of(publish_model(tmp_path / "a", classes=["cat", "dog"]))
    assert (info.classes, info.null_class, info.class_conditional) == (("cat", "dog"), 2, True)
    assert info.shape.chw == (1, 8, 8)
    plain = ModelInfo.of(
        publish_model(tmp_path / "b", tiny_unet(num_classes=None, channels=3), classes=())
    )
    assert (plain.null_class, plain.class_conditional) == (None, False)
    assert plain.shape.chw == (3, 8, 8)


def test_a_changed_weight_file_is_not_loaded(tmp_path: Path) -> None:
    artifact = publish_model(tmp_path)
    key = artifact.entry("model/unet/diffusion_pytorch_model.safetensors").key
    data = bytearray((tmp_path / key).read_bytes())
    data[-1] ^= 1
    (tmp_path / key).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="safetensors"):
        load_unet(artifact)


def test_weights_under_other_names_are_not_replaced_by_random_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = tiny_unet()
    named = {f"_orig_mod.{name}": tensor for name, tensor in unet.state_dict().items()}
    monkeypatch.setattr(unet, "state_dict", lambda *_, **__: named)
    artifact = publish_model(tmp_path, unet)
    with pytest.raises(DataError, match=r"lacks \d+ of its weights, first "):
        load_unet(artifact)
