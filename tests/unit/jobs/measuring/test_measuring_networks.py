"""Networks are found by their weights, load in the form that users have, and give the features
that their definitions ask for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.feature_networks import (
    MAX_TOKENS,
    calibrated_inception,
    photograph_crops,
    save_timm,
    save_tiny_clip,
    save_tiny_dinov2,
)
from tests.helpers.tiny_families import save_tiny
from transformers import AutoTokenizer, CLIPModel, Dinov2Model

from darkroom.config import build_config
from darkroom.errors import ConfigError, DataError
from darkroom.jobs.drawing.config import WorkerConfig
from darkroom.jobs.measuring.comparison import CLIP, CUT, TEXT
from darkroom.jobs.measuring.config import MeasuringConfig
from darkroom.jobs.measuring.networks import Features, find_networks

PICTURES = photograph_crops(5, 1, 40)
PROMPTS = ("a photo of a cat", None, "a rocket at launch", "a cat " * 40, "a photo of a cat")


def extracted(name: str, settings: dict[str, Any], images: Any = PICTURES) -> Features:
    config = build_config(MeasuringConfig, {"networks": {name: settings, "batch_size": 2}})
    (extractor,) = find_networks(config, (name,))
    return extractor.load(WorkerConfig())(images, PROMPTS[: len(images)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("networks") / "clip")


def resized(side: int) -> torch.Tensor:
    pictures = [
        np.asarray(Image.fromarray(one.transpose(1, 2, 0)).resize((side, side), 3))
        for one in PICTURES
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def test_clip_gives_unit_vectors_of_pictures_and_prompts_with_the_end_token(clip: Path) -> None:
    found = extracted("clip", {"model": str(clip)})
    network: Any = CLIPModel.from_pretrained(clip)
    tokenizer = AutoTokenizer.from_pretrained(clip)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        seen = network.get_image_features((resized(32) - mean) / std).pooler_output
        short = network.get_text_features(**tokenizer(PROMPTS[0], return_tensors="pt"))
        ids = tokenizer(PROMPTS[3])["input_ids"]
        kept = torch.tensor([[*ids[: MAX_TOKENS - 1], tokenizer.eos_token_id]])
        long = network.get_text_features(input_ids=kept)
    expected = torch.nn.functional.normalize(seen, dim=-1).numpy()
    assert found[CLIP] == pytest.approx(expected, abs=1e-5)
    for row, text in ((0, short), (3, long), (4, short)):
        unit = torch.nn.functional.normalize(text.pooler_output, dim=-1).numpy()[0]
        assert found[TEXT][row] == pytest.approx(unit, abs=1e-5)
    assert not found[TEXT][1].any()
    assert found[CUT][:, 0].tolist() == [0, 0, 0, 1, 0]


def test_dinov2_gives_the_class_token_at_224(tmp_path: Path) -> None:
    folder = save_tiny_dinov2(tmp_path / "dinov2")
    found = extracted("dinov2", {"model": str(folder)})["dinov2"]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    network: Any = Dinov2Model.from_pretrained(folder)
    with torch.no_grad():
        expected = network((resized(224) - mean) / std).pooler_output.numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_timm_gives_what_comes_before_the_classifier(tmp_path: Path) -> None:
    weights = save_timm(tmp_path / "weights.pth")
    found = extracted("timm", {"name": "resnet10t", "weights": str(weights)})["timm"]
    assert found.shape == (5, 512)
    assert np.ptp(found, axis=0).max() > 0
    grey = PICTURES[:, :1]
    again = extracted("timm", {"name": "resnet10t", "weights": str(weights)}, grey)["timm"]
    assert again.shape == (5, 512)


def test_inception_gives_what_torch_fidelity_gives(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = calibrated_inception(tmp_path / "inception.pth", num_pictures=6)
    found = extracted("inception", {"weights": str(weights)}, PICTURES[:2])["inception"]
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )
    with torch.no_grad():
        (expected,) = network(torch.from_numpy(PICTURES[:2]))
    assert found == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (save_timm, {"timm": {"name": "resnet10x"}}, "networks.timm.name: got 'resnet10x'"),
        (save_timm, {"timm": {"name": "resnet18"}}, "does not fit the model"),
        (save_timm, {"timm": {"name": "resnet18"}}, "networks.timm.weights: got '.*weights', does"),
        (save_timm, {"timm": {"name": "hf_hub:a/b"}}, "name: got 'hf_hub:a/b', names a place"),
        (
            partial(save_tiny, "sd"),
            {"clip": {}},
            "clip.model: .* names no model_type in a config.json; give",
        ),
        (save_timm, {"inception": {}}, "are no weights of torch-fidelity's Inception v3"),
        (save_tiny_dinov2, {"clip": {}}, "networks.clip.model: .* holds a dinov2, not a clip"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(
    make: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    ((name, values),) = settings.items()
    place = str(make(tmp_path / "weights"))
    key = "model" if name in ("clip", "dinov2") else "weights"
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        extracted(name, {**values, key: place})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["clip", "timm"])
def test_weights_with_another_digest_are_refused(name: str, clip: Path, tmp_path: Path) -> None:
    values = (
        {"model": str(clip), "expected_digest": "0" * 64}
        if name == "clip"
        else {"weights": str(save_timm(tmp_path / "w.pth")), "sha256": "0" * 64}
    )
    with pytest.raises(ConfigError, match=rf"networks.{name}.*has the digest \w{{64}}, not 0000"):
        extracted(name, values)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"networks.inception.weights: .*there is no such file"):
        extracted("inception", {"weights": str(tmp_path / "none.pth")})
